"""Grading: a grader, answers to items, and whoever must be asked; out come grades, in the same order.

Nothing is kept between calls, and nothing outside is touched but through what the caller passes in: `ask`
for graders that need a model, `run_python` for those that bring code, `embed` for cosine similarity.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Literal, Protocol, TypeGuard

from tailor.errors import InvalidRequest, TailorError
from tailor.grading.grades import Grade, merged
from tailor.grading.judging import Ask, Reply, question_of, read_label, read_score
from tailor.grading.samples import Answered
from tailor.grading.similarity import cosine, similarity
from tailor.protocol.formulas import FormulaError, parse_formula
from tailor.protocol.graders import (
    Grader,
    GraderErrors,
    LabelModelGrader,
    MultiGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from tailor.protocol.templates import MissingVariable, RenderedTooLong, parse_template, render

MAX_ASKS = 8
"""Questions under way at once, unless the caller says otherwise."""


class Ran(Protocol):
    """What came of running a python grader on one item; the sandbox's `Outcome` is one."""

    @property
    def score(self) -> float | None:
        """None when there is none."""

    @property
    def fault(self) -> Literal["grader", "sandbox"] | None:
        """Whose fault that is."""

    @property
    def details(self) -> str | None:
        """A sentence about it."""

    @property
    def seconds(self) -> float:
        """How long it took."""


RunPython = Callable[[str, Iterable[tuple[Any, Any]]], Iterable[Ran]]
"""Runs a source on (sample, item) pairs: `Sandbox.run`."""

Embed = Callable[[Sequence[str]], Sequence[Sequence[float]] | Awaitable[Sequence[Sequence[float]]]]
"""Vectors of texts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Means:
    ask: Ask | None
    run_python: RunPython | None
    embed: Embed | None
    turns: asyncio.Semaphore


async def grade_batch(
    grader: Grader,
    answers: Sequence[Answered],
    *,
    ask: Ask | None = None,
    run_python: RunPython | None = None,
    embed: Embed | None = None,
    max_asks: int = MAX_ASKS,
) -> list[Grade]:
    """Grade every answer; a grade with error flags where that fails, so one bad item stops nothing.

    `ask` and `embed` may be plain or async functions; plain ones run in threads, `max_asks` at once. A
    python grader gets all items in one `run_python`.

    Raises:
        InvalidRequest: the grader needs something that was not passed.
    """
    check_means(grader, ask=ask, run_python=run_python, embed=embed)
    means = _Means(ask=ask, run_python=run_python, embed=embed, turns=asyncio.Semaphore(max_asks))
    return await _grade(grader, answers, means)


def grade_now(grader: Grader, answers: Sequence[Answered], **means: Any) -> list[Grade]:
    """`grade_batch` for callers without an event loop, such as training."""
    return asyncio.run(grade_batch(grader, answers, **means))


async def _grade(grader: Grader, answers: Sequence[Answered], means: _Means) -> list[Grade]:
    if isinstance(grader, MultiGrader):
        return await _multi(grader, answers, means)
    if isinstance(grader, PythonGrader):
        return await _python(grader, answers, means)
    if isinstance(grader, ScoreModelGrader | LabelModelGrader):
        return await asyncio.gather(*(_judge(grader, answer, means) for answer in answers))
    if needs_vectors(grader):
        return await asyncio.gather(*(_cosine(grader, answer, means) for answer in answers))
    return await asyncio.to_thread(lambda: [_compare(grader, answer) for answer in answers])


def _compare(grader: StringCheckGrader | TextSimilarityGrader, answer: Answered) -> Grade:
    began = time.monotonic()
    try:
        text, reference = _both(grader, answer)
    except (MissingVariable, RenderedTooLong) as error:
        return _unrendered(grader, answer, error)
    if isinstance(grader, TextSimilarityGrader):
        grade = _grade_of(grader, similarity(grader.evaluation_metric, text, reference))
    else:
        is_so = _holds(grader.operation, text, reference)
        grade = _grade_of(grader, float(is_so), passed=is_so)
    return replace(grade, seconds=time.monotonic() - began)


def _holds(operation: Literal["eq", "ne", "like", "ilike"], text: str, reference: str) -> bool:
    match operation:
        case "eq":
            return text == reference
        case "ne":
            return text != reference
        case "like":
            return reference in text
        case "ilike":
            return reference.casefold() in text.casefold()


def needs_vectors(grader: Grader) -> TypeGuard[TextSimilarityGrader]:
    """Whether it compares embeddings."""
    return isinstance(grader, TextSimilarityGrader) and grader.evaluation_metric == "cosine"


async def _cosine(grader: TextSimilarityGrader, answer: Answered, means: _Means) -> Grade:
    began = time.monotonic()
    try:
        one, other = await _call(means, means.embed, _both(grader, answer))
    except (MissingVariable, RenderedTooLong) as error:
        return _unrendered(grader, answer, error)
    except (TailorError, OSError) as error:
        return _unanswered(grader, error)
    return replace(_grade_of(grader, cosine(one, other)), seconds=time.monotonic() - began)


def _both(grader: StringCheckGrader | TextSimilarityGrader, answer: Answered) -> tuple[str, str]:
    values = answer.values
    return render(parse_template(grader.input), values), render(parse_template(grader.reference), values)


async def _judge(grader: ScoreModelGrader | LabelModelGrader, answer: Answered, means: _Means) -> Grade:
    began = time.monotonic()
    try:
        question = question_of(grader, answer.values)
    except (MissingVariable, RenderedTooLong) as error:
        return _unrendered(grader, answer, error)
    try:
        reply: Reply = await _call(means, means.ask, question)
    except (TailorError, OSError) as error:
        return replace(_unanswered(grader, error), question=question, seconds=time.monotonic() - began)
    return replace(_read(grader, reply), question=question, reply=reply, seconds=time.monotonic() - began)


def _read(grader: ScoreModelGrader | LabelModelGrader, reply: Reply) -> Grade:
    if reply.refusal:
        return _failed(grader, "model_grader_refusal_error", f"{reply.model} refused: {reply.refusal[:300]}")
    if not reply.text.strip():
        return _failed(grader, "unresponsive_reward_error", f"{reply.model} answered nothing")
    if isinstance(grader, ScoreModelGrader):
        score = read_score(reply.text, grader.range)
        if score is not None:
            return _grade_of(grader, score)
        wanted = "one number"
    else:
        label = read_label(reply.text, grader.labels)
        if label is not None:
            passed = label in grader.passing_labels
            return _grade_of(grader, float(passed), passed=passed)
        wanted = f"one of {', '.join(grader.labels)}"
    told = f"{reply.model} was to answer with {wanted}, and said {reply.text[:200]!r}"
    return _failed(grader, "model_grader_parse_error", told)


async def _python(grader: PythonGrader, answers: Sequence[Answered], means: _Means) -> list[Grade]:
    run = means.run_python
    if run is None:
        raise TypeError("run_python was checked before")
    pairs = [(answer.sample, answer.item) for answer in answers]
    left = threading.Event()

    def work() -> list[Ran]:
        return list(takewhile(lambda _: not left.is_set(), run(grader.source, pairs)))

    try:
        ran = await asyncio.to_thread(work)
    finally:
        left.set()  # were we cancelled, the thread stops after the item at hand
    return [_python_grade(grader, outcome) for outcome in ran]


def _python_grade(grader: PythonGrader, ran: Ran) -> Grade:
    if ran.score is not None:
        return replace(_grade_of(grader, ran.score), seconds=ran.seconds)
    told = ran.details or "there is no score"
    if ran.fault == "sandbox":
        grade = _failed(grader, "python_grader_server_error", told, python_grader_server_error_type="sandbox")
    else:
        grade = _failed(grader, "python_grader_runtime_error", told, python_grader_runtime_error_details=told)
    return replace(grade, seconds=ran.seconds)


async def _multi(grader: MultiGrader, answers: Sequence[Answered], means: _Means) -> list[Grade]:
    names = list(grader.graders)
    columns = await asyncio.gather(*(_grade(part, answers, means) for part in grader.graders.values()))
    formula = parse_formula(grader.calculate_output)
    grades = []
    for row in zip(*columns, strict=True):
        parts = dict(zip(names, row, strict=True))
        errors = merged([part.errors for part in row])
        problems = [f"{name}: {text}" for name, part in parts.items() for text in part.problems]
        try:
            score = formula.value({name: part.score for name, part in parts.items()})
        except FormulaError as error:
            score = 0.0
            errors = errors.model_copy(update={"formula_parse_error": True})
            problems.append(f"{grader.calculate_output}: {error}")
        if errors.has_any and grader.invalid_grade is not None:
            score = grader.invalid_grade
        grades.append(
            Grade(
                name=grader.name,
                type=grader.type,
                score=score,
                passed=False if errors.has_any else None,
                errors=errors,
                problems=tuple(problems),
                seconds=sum(part.seconds for part in row),
                parts=parts,
            )
        )
    return grades


def _grade_of(grader: Grader, score: float, *, passed: bool | None = None) -> Grade:
    if isinstance(grader, TextSimilarityGrader | ScoreModelGrader | PythonGrader):
        threshold = grader.pass_threshold
        passed = None if threshold is None else score >= threshold
    return Grade(name=grader.name, type=grader.type, score=score, passed=passed)


def _unrendered(grader: Grader, answer: Answered, error: MissingVariable | RenderedTooLong) -> Grade:
    if isinstance(error, RenderedTooLong):
        return _failed(grader, "truncated_observation_error", str(error))
    if error.path[:2] == ("sample", "output_json") and "output_json" not in answer.sample:
        return _failed(grader, "sample_parse_error", f"{error}; the answer is not JSON")
    return _failed(grader, "invalid_variable_error", str(error))


def _unanswered(grader: Grader, error: TailorError | OSError) -> Grade:
    told = error.sentence if isinstance(error, TailorError) else f"{type(error).__name__}: {error}"
    return _failed(grader, "model_grader_server_error", told, model_grader_server_error_details=told[:1000])


def _failed(grader: Grader, flag: str, told: str, **texts: str) -> Grade:
    errors = GraderErrors.model_validate({flag: True} | texts)
    return Grade(name=grader.name, type=grader.type, score=0.0, passed=False, errors=errors, problems=(told,))


async def _call(means: _Means, function: Callable[[Any], Any] | None, argument: Any) -> Any:
    """The result of a plain or async function, when it is our turn."""
    if function is None:
        raise TypeError("what a grader needs was checked before")
    async with means.turns:
        if inspect.iscoroutinefunction(function):
            return await function(argument)
        result = await asyncio.to_thread(function, argument)
        return await result if inspect.isawaitable(result) else result


def parts_of(grader: Grader) -> Mapping[str, Grader]:
    """The graders at work: those of a multi grader, or the grader itself; by their place in the request."""
    if isinstance(grader, MultiGrader):
        return {f"graders.{name}": part for name, part in grader.graders.items()}
    return {"": grader}


def check_means(
    grader: Grader,
    *,
    ask: Ask | None = None,
    run_python: RunPython | None = None,
    embed: Embed | None = None,
) -> None:
    """Raise InvalidRequest if the grader, or a part of it, needs something that there is not."""
    for place, part in parts_of(grader).items():
        param = f"grader.{place}" if place else "grader"
        if isinstance(part, ScoreModelGrader | LabelModelGrader) and ask is None:
            raise InvalidRequest(f"{part.name!r} asks a model, and none can be asked here.", param=param)
        if isinstance(part, PythonGrader) and run_python is None:
            raise InvalidRequest(f"{part.name!r} brings code, and none can be run here.", param=param)
        if needs_vectors(part) and embed is None:
            raise InvalidRequest(
                f"{part.name!r} compares embeddings, and no model here makes any.",
                param=f"{param}.evaluation_metric",
                code="unsupported_value",
                remedy="Use fuzzy_match, rouge_l or another metric that compares words; or the operator "
                "names a model: tailor serve --embeddings MODEL.",
            )
