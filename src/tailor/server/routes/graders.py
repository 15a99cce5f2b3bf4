"""Graders tried out, before a job or an eval uses them (contract 1.5)."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool

from tailor.errors import InvalidRequest, NotFound
from tailor.grading import Answered, Ask, Question, Reply, check_means, grade_batch, parts_of, sample_of
from tailor.protocol import (
    ChatMessage,
    ChatRequest,
    Grader,
    GraderRun,
    GraderRunRequest,
    GraderValidated,
    GraderValidateRequest,
)
from tailor.protocol.graders import LabelModelGrader, PythonGrader, ScoreModelGrader
from tailor.server.calls import Call, Writing
from tailor.server.completion import collect
from tailor.server.requests import new_router
from tailor.server.streaming import unless_gone

router = new_router("fine_tuning", "/v1/fine_tuning/alpha/graders")

_MAX_JUDGEMENT_TOKENS = 1024
"""For a grader that does not say how long its model may go on."""


@router.post("/validate", response_model=GraderValidated, response_model_exclude_none=True)
def validate_grader(call: Writing, body: GraderValidateRequest) -> GraderValidated:
    """The grader as it was understood; a python grader is loaded, but sees nothing to grade."""
    _check(call, body.grader, load=True)
    return GraderValidated(grader=body.grader)


@router.post("/run")
async def run_grader(call: Writing, body: GraderRunRequest) -> GraderRun:
    """Grade one answer. What goes wrong while grading is told by flags in the answer, not by a status."""
    await run_in_threadpool(_check, call, body.grader, load=False)
    answer = Answered(item=body.item or {}, sample=sample_of(body.model_sample))
    grading = grade_batch(body.grader, [answer], ask=asker(call), run_python=call.services.sandbox.run)
    [grade] = await unless_gone(call.request, call.services.traffic, grading)
    return grade.to_wire()


def asker(call: Call) -> Ask:
    """Asks any model that the caller can use here."""

    async def ask(question: Question) -> Reply:
        sampling = question.sampling
        request = ChatRequest(
            model=question.model,
            messages=[ChatMessage.model_validate(message) for message in question.messages],
            # A judge that is not told otherwise gives the same mark to the same answer.
            temperature=0.0 if sampling.temperature is None else sampling.temperature,
            top_p=sampling.top_p,
            seed=sampling.seed,
            max_completion_tokens=sampling.max_completions_tokens or _MAX_JUDGEMENT_TOKENS,
        )
        completion = await collect(await call.services.answering.begin(call.tenant, request))
        return Reply(
            text=completion.choices[0].message.content or "",
            model=completion.model,
            prompt_tokens=completion.usage.prompt_tokens,
            completion_tokens=completion.usage.completion_tokens,
            refusal=completion.choices[0].message.refusal,
        )

    return ask


def _check(call: Call, grader: Grader, *, load: bool) -> None:
    """Refuse what cannot be graded with here, whatever the answer."""
    check_means(grader, ask=asker(call), run_python=call.services.sandbox.run)
    for place, part in parts_of(grader).items():
        param = f"grader.{place}" if place else "grader"
        if isinstance(part, ScoreModelGrader | LabelModelGrader):
            _check_model(call, part.model, f"{param}.model")
        if isinstance(part, PythonGrader):
            _check_source(call, part, f"{param}.source", load=load)


def _check_model(call: Call, name: str, param: str) -> None:
    try:
        call.services.answering.resolve(call.tenant, name)
    except NotFound as error:
        raise InvalidRequest(
            f"Model {name} does not exist, so it cannot grade.",
            param=param,
            code="model_not_found",
            remedy="GET /v1/models lists what can be asked.",
        ) from error


def _check_source(call: Call, grader: PythonGrader, param: str, *, load: bool) -> None:
    sandbox = call.services.sandbox
    sandbox.get()
    if load and (problem := sandbox.check(grader.source)) is not None:
        raise InvalidRequest(
            f"The source of {grader.name!r} cannot grade: {problem}.",
            param=param,
            code="invalid_grader",
            remedy="Define grade(sample, item) so that it returns a number.",
        )
