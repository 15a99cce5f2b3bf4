"""The grader of a reinforcement job: what a worker can grade with, and the grading itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from tailor.data import Lesson, ReinforcementExample
from tailor.data.problems import Problem
from tailor.errors import InvalidRequest
from tailor.grading import Answered, Grade, Ran, RunPython, check_means, grade_batch, grade_now, parts_of
from tailor.grading.judging import Question, Reply
from tailor.protocol import DistillationMethod, Grader, ReinforcementMethod
from tailor.protocol.graders import (
    LabelModelGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from tailor.protocol.templates import MissingVariable, Reference, look_up, parse_template
from tailor.sandbox import Sandbox, find_sandbox
from tailor.store import Job

if TYPE_CHECKING:
    from tailor.jobs.asking import Asking

_PARAM = "method.reinforcement"
_MAX_ASKS = 256
"""Questions at work on at once; how many of them are under way is for whoever asks to say."""

CheckJudge = Callable[[ScoreModelGrader | LabelModelGrader, str], None]
"""Raises InvalidRequest, naming the given parameter, if the grader's model cannot be asked."""


def check_method(
    method: ReinforcementMethod | None, run_python: RunPython, check_judge: CheckJudge
) -> ReinforcementMethod:
    """What a worker cannot do is refused before there is a job.

    Raises:
        InvalidRequest: there is no grader, it asks a model that is not there or compares embeddings, or
            answers are to follow a schema.
    """
    if method is None:
        raise InvalidRequest(
            "A reinforcement job needs a grader.",
            param=f"{_PARAM}.grader",
            code="missing_required_parameter",
            remedy='Give "method": {"type": "reinforcement", "reinforcement": {"grader": {...}}}.',
        )
    check_grader(method.grader, run_python, check_judge, param=f"{_PARAM}.grader")
    kind = (method.response_format or {}).get("type", "text")
    if kind != "text":
        raise InvalidRequest(
            f"response_format {str(kind)[:40]!r} is not available on this server.",
            param=f"{_PARAM}.response_format",
            code="unsupported_value",
            remedy="Leave it out, and let the grader look at sample.output_json: an answer that is no JSON "
            "scores 0 there.",
        )
    return method


def check_grader(grader: Grader, run_python: RunPython, check_judge: CheckJudge, *, param: str) -> None:
    """Refuse a grader that a worker cannot grade with; `param` is its place in the request."""

    async def ask(question: Question) -> Reply:
        raise TypeError("a check asks nobody")

    try:
        check_means(grader, ask=ask, run_python=run_python)
    except InvalidRequest as error:
        error.param = f"{param}{str(error.param).removeprefix('grader')}"
        raise
    for place, part in parts_of(grader).items():
        if isinstance(part, ScoreModelGrader | LabelModelGrader):
            check_judge(part, f"{param}.{place}.model" if place else f"{param}.model")


def python_sources(grader: Grader, *, param: str = f"{_PARAM}.grader") -> Iterator[tuple[str, PythonGrader]]:
    """The parts that bring code, by their place in the request."""
    for place, part in parts_of(grader).items():
        if isinstance(part, PythonGrader):
            yield (f"{param}.{place}" if place else param), part


def grader_of(job: Job) -> Grader | None:
    """The job's grader, which was checked when the job was made."""
    if job.method.get("type") == "distillation":
        return DistillationMethod.model_validate(job.method["distillation"]).grader
    if job.method.get("type") == "reinforcement":
        return ReinforcementMethod.model_validate(job.method["reinforcement"]).grader
    return None


def missing_fields(grader: Grader, examples: Iterable[ReinforcementExample | Lesson]) -> Iterator[Problem]:
    """A problem for each example that lacks what the grader's templates name."""
    references = list(_item_references(grader))
    for example in examples:
        for reference in references:
            try:
                look_up(reference, {"item": example.item})
            except MissingVariable as missing:
                yield Problem(
                    line=example.line,
                    code="missing_grader_field",
                    field=reference.path.removeprefix("item."),
                    message=f"the grader needs this: {missing}.",
                    remedy="Add the field to the line, or name another one in the grader.",
                )


def _item_references(grader: Grader) -> Iterator[Reference]:
    for part in parts_of(grader).values():
        if isinstance(part, StringCheckGrader | TextSimilarityGrader):
            for text in (part.input, part.reference):
                yield from (
                    piece
                    for piece in parse_template(text)
                    if isinstance(piece, Reference) and piece.steps[0] == "item"
                )


class Grading:
    """Grades answers in a worker."""

    def __init__(self, grader: Grader, asking: Asking) -> None:
        """Raises SandboxMissing where the grader brings code and this machine cannot shut it in."""
        self._grader = grader
        self._asking = asking
        self._sandbox: Sandbox | None = find_sandbox() if any(python_sources(grader)) else None
        self._asks_models = any(
            isinstance(part, ScoreModelGrader | LabelModelGrader) for part in parts_of(grader).values()
        )

    def __call__(self, answers: Sequence[Answered], tick: Callable[[], None]) -> list[Grade]:
        """One grade for each answer, in order; `tick` is called on the way and may raise.

        Raises:
            Stuck: a model that grades cannot be asked.
        """
        tick()

        def run(source: str, cases: Iterable[tuple[Any, Any]]) -> Iterator[Ran]:
            for outcome in self._sandbox.run(source, cases) if self._sandbox else ():
                tick()
                yield outcome

        if not self._asks_models:
            return grade_now(self._grader, answers, run_python=run)
        return self._asking.judge(
            lambda ask: grade_batch(self._grader, answers, ask=ask, run_python=run, max_asks=_MAX_ASKS),
            tick,
        )
