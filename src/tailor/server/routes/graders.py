"""Graders tried out, before a job or an eval uses them (contract 1.5)."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from tailor.errors import InvalidRequest
from tailor.evals.runs import judge
from tailor.grading import Answered, check_means, grade_batch, parts_of, sample_of
from tailor.protocol import (
    Grader,
    GraderRun,
    GraderRunRequest,
    GraderValidated,
    GraderValidateRequest,
)
from tailor.protocol.graders import LabelModelGrader, PythonGrader, ScoreModelGrader
from tailor.sandbox import SharedSandbox
from tailor.server.calls import Call, Writing
from tailor.server.requests import new_router
from tailor.server.streaming import unless_gone

router = new_router("fine_tuning", "/v1/fine_tuning/alpha/graders")


@router.post("/validate", response_model=GraderValidated, response_model_exclude_none=True)
def validate_grader(call: Writing, body: GraderValidateRequest) -> GraderValidated:
    """The grader as it was understood; a python grader is loaded, but sees nothing to grade."""
    check_grader(call, body.grader, load=True)
    return GraderValidated(grader=body.grader)


@router.post("/run")
async def run_grader(call: Writing, body: GraderRunRequest) -> GraderRun:
    """Grade one answer. What goes wrong while grading is told by flags in the answer, not by a status."""
    await run_in_threadpool(check_grader, call, body.grader, load=False)
    answer = Answered(item=body.item or {}, sample=sample_of(body.model_sample))
    ask = judge(call.tenant, call.services.asking.complete)
    embed = call.services.embedding.for_graders(call.tenant)
    grading = grade_batch(body.grader, [answer], ask=ask, run_python=call.services.sandbox.run, embed=embed)
    [grade] = await unless_gone(call.request, call.services.traffic, grading)
    return grade.to_wire()


def check_grader(call: Call, grader: Grader, *, load: bool) -> None:
    """Refuse what cannot be graded with here, whatever the answer; with `load` python sources are tried."""
    ask = judge(call.tenant, call.services.asking.complete)
    embed = call.services.embedding.for_graders(call.tenant)
    check_means(grader, ask=ask, run_python=call.services.sandbox.run, embed=embed)
    for place, part in parts_of(grader).items():
        param = f"grader.{place}" if place else "grader"
        if isinstance(part, ScoreModelGrader | LabelModelGrader):
            check_judge(call, part, f"{param}.model")
        if isinstance(part, PythonGrader):
            call.services.sandbox.get()
            if load:
                check_source(call.services.sandbox, part, f"{param}.source")


def check_judge(call: Call, grader: ScoreModelGrader | LabelModelGrader, param: str) -> None:
    """Raise InvalidRequest unless the model of a grader can be asked to grade."""
    call.services.asking.check_model(call.tenant, grader.model, param=param, purpose="grade")
    if not call.services.asking.is_judge(call.tenant, grader.model):
        return
    if isinstance(grader, LabelModelGrader):
        raise InvalidRequest(
            f"{grader.model} is a reward model: it gives numbers, not labels.",
            param=param,
            code="invalid_grader",
            remedy="Use it in a score_model grader.",
        )
    if "range" not in grader.model_fields_set:
        raise InvalidRequest(
            f"{grader.model} is a reward model, whose numbers know no bounds, and {grader.name!r} has none.",
            param=f"{param.removesuffix('.model')}.range",
            code="invalid_grader",
            remedy='Give the bounds that its rewards are clipped to, such as "range": [-20, 20].',
        )


def check_source(sandbox: SharedSandbox, grader: PythonGrader, param: str) -> None:
    """Load a python grader, without anything to grade; raises InvalidRequest with what is wrong with it."""
    if (problem := sandbox.check(grader.source)) is not None:
        raise InvalidRequest(
            f"The source of {grader.name!r} cannot grade: {problem}.",
            param=param,
            code="invalid_grader",
            remedy="Define grade(sample, item) so that it returns a number.",
        )
