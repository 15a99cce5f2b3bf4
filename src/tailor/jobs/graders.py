"""The grader of a reinforcement job: what a worker can grade with, and the grading itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tailor.data import ReinforcementExample
from tailor.data.problems import Problem
from tailor.errors import InvalidRequest
from tailor.grading import Answered, Grade, Ran, RunPython, check_means, grade_now, parts_of
from tailor.protocol import Grader, ReinforcementMethod
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

_PARAM = "method.reinforcement"


def check_method(method: ReinforcementMethod | None, run_python: RunPython) -> ReinforcementMethod:
    """What a worker cannot do is refused before there is a job.

    Raises:
        InvalidRequest: there is no grader, it asks a model or compares embeddings, or answers are to follow
            a schema.
    """
    if method is None:
        raise InvalidRequest(
            "A reinforcement job needs a grader.",
            param=f"{_PARAM}.grader",
            code="missing_required_parameter",
            remedy='Give "method": {"type": "reinforcement", "reinforcement": {"grader": {...}}}.',
        )
    for place, part in parts_of(method.grader).items():
        if isinstance(part, ScoreModelGrader | LabelModelGrader):
            raise InvalidRequest(
                f"The grader {part.name!r} asks a model, and jobs on this server cannot ask one yet: they "
                "run apart from what answers requests.",
                param=_param(place),
                code="model_grader_unavailable",
                remedy="Use string_check, text_similarity, python or a multi of these.",
            )
    try:
        check_means(method.grader, run_python=run_python)
    except InvalidRequest as error:
        error.param = f"{_PARAM}.{error.param}"
        raise
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


def python_sources(grader: Grader) -> Iterator[tuple[str, PythonGrader]]:
    """The parts that bring code, by their place in the request."""
    for place, part in parts_of(grader).items():
        if isinstance(part, PythonGrader):
            yield _param(place), part


def grader_of(job: Job) -> Grader:
    """The job's grader, which was checked when the job was made."""
    return ReinforcementMethod.model_validate(job.method["reinforcement"]).grader


def missing_fields(grader: Grader, examples: Iterable[ReinforcementExample]) -> Iterator[Problem]:
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

    def __init__(self, grader: Grader) -> None:
        """Raises SandboxMissing where the grader brings code and this machine cannot shut it in."""
        self._grader = grader
        self._sandbox: Sandbox | None = find_sandbox() if any(python_sources(grader)) else None

    def __call__(self, answers: Sequence[Answered], tick: Callable[[], None]) -> list[Grade]:
        """One grade for each answer, in order; `tick` is called on the way and may raise."""
        tick()

        def run(source: str, cases: Iterable[tuple[Any, Any]]) -> Iterator[Ran]:
            for outcome in self._sandbox.run(source, cases) if self._sandbox else ():
                tick()
                yield outcome

        return grade_now(self._grader, answers, run_python=run)


def _param(place: str) -> str:
    return f"{_PARAM}.grader.{place}" if place else f"{_PARAM}.grader"
