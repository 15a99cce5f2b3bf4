"""Grades: what each criterion of an eval makes of some answered rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import TypeAdapter

from tailor.evals.runs.judging import judge
from tailor.evals.runs.means import Means, Patience
from tailor.evals.runs.sampling import Usage, answered
from tailor.grading import Grade, Question, Reply, grade_batch, needs_vectors, parts_of
from tailor.protocol.evals import Criterion, MultiCriterion
from tailor.protocol.graders import Grader, LabelModelGrader, PythonGrader, ScoreModelGrader
from tailor.store import EvalItem

JsonObject = dict[str, Any]
Status = Literal["pass", "fail", "error"]

_CRITERIA: Final[TypeAdapter[list[Criterion]]] = TypeAdapter(list[Criterion])
_DEFAULT_THRESHOLD: Final = 0.5


class Criteria:
    """The criteria of one run."""

    def __init__(self, wire: Sequence[JsonObject], *, tenant: str, means: Means, patience: Patience) -> None:
        """`wire` as the eval keeps them."""
        self._criteria = _CRITERIA.validate_python(list(wire))
        self._means = means
        self._embed = means.embed_for(tenant)
        ask = judge(tenant, means.complete)

        async def ask_patiently(question: Question) -> Reply:
            return await patience.ask(question.model, lambda: ask(question))

        self._ask = ask_patiently

    @property
    def run_code(self) -> bool:
        """Whether any brings code: starting its sandbox is worth many rows at once."""
        return any(isinstance(part, PythonGrader) for part in self._parts())

    @property
    def is_quick(self) -> bool:
        """Whether grading is nothing but comparing: it asks nobody and runs no code."""
        return not any(
            isinstance(part, PythonGrader | ScoreModelGrader | LabelModelGrader) or needs_vectors(part)
            for part in self._parts()
        )

    def _parts(self) -> list[Grader]:
        return [part for one in self._criteria for part in parts_of(one).values()]

    async def grade(self, items: Sequence[EvalItem]) -> list[tuple[Status, list[JsonObject], Usage]]:
        """For each row its status, what each criterion says, and what the judges used."""
        if not items:
            return []
        answers = [answered(item) for item in items]
        columns = await asyncio.gather(
            *(
                grade_batch(one, answers, ask=self._ask, run_python=self._means.run_python, embed=self._embed)
                for one in self._criteria
            )
        )
        rows = []
        for grades in zip(*columns, strict=True):
            results = [
                _result(one, grade, passes(one, grade))
                for one, grade in zip(self._criteria, grades, strict=True)
            ]
            rows.append((_status(grades, results), results, _usage(grades)))
        return rows


def passes(criterion: Criterion, grade: Grade) -> bool:
    """Whether a grade is good enough.

    Where a criterion does not say what passing means, half of the way is: the middle of a model's range,
    0.5 of what code or a formula gives.
    """
    if grade.errors.has_any:
        return False
    if isinstance(criterion, MultiCriterion) and criterion.pass_threshold is not None:
        return grade.score >= criterion.pass_threshold
    if grade.passed is not None:
        return grade.passed
    if isinstance(criterion, ScoreModelGrader):
        return grade.score >= sum(criterion.range) / 2
    return grade.score >= _DEFAULT_THRESHOLD


def _status(grades: Sequence[Grade], results: Sequence[JsonObject]) -> Status:
    if any(grade.errors.has_any for grade in grades):
        return "error"
    return "pass" if all(result["passed"] for result in results) else "fail"


def _result(criterion: Criterion, grade: Grade, passed: bool) -> JsonObject:
    errors = {name: value for name, value in grade.errors if value}
    extra: JsonObject = {"errors": errors, "problems": list(grade.problems)}
    if grade.parts:
        extra["scores"] = {name: part.score for name, part in grade.parts.items()}
    return {
        "name": criterion.name,
        "type": criterion.type,
        "passed": passed,
        "score": grade.score,
        "sample": _exchange(grade),
        "tailor": extra,
    }


def _exchange(grade: Grade) -> JsonObject | None:
    """What the grading model was asked, and what it said."""
    if grade.question is None:
        asked = {name: _exchange(part) for name, part in grade.parts.items()}
        return {name: exchange for name, exchange in asked.items() if exchange is not None} or None
    said: JsonObject = {"input": list(grade.question.messages), "output": []}
    if grade.reply is None:
        return said | {"model": grade.question.model}
    return said | {
        "model": grade.reply.model,
        "output": [{"role": "assistant", "content": grade.reply.text}],
        "usage": {
            "prompt_tokens": grade.reply.prompt_tokens,
            "completion_tokens": grade.reply.completion_tokens,
            "total_tokens": grade.reply.prompt_tokens + grade.reply.completion_tokens,
        },
    }


def _usage(grades: Sequence[Grade]) -> Usage:
    """What the judges of a row used."""
    total: Usage = {}
    for grade in grades:
        for reply in _replies(grade):
            counts = total.setdefault(
                reply.model,
                {"invocations": 0, "prompt_tokens": 0, "completion_tokens": 0, "cached_tokens": 0},
            )
            counts["invocations"] += 1
            counts["prompt_tokens"] += reply.prompt_tokens
            counts["completion_tokens"] += reply.completion_tokens
    return total


def _replies(grade: Grade) -> list[Reply]:
    own = [grade.reply] if grade.reply else []
    return own + [reply for part in grade.parts.values() for reply in _replies(part)]
