"""Fine-tuning jobs (contract 1.3)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header

from tailor.data import METHODS
from tailor.errors import InvalidRequest, NotFound
from tailor.jobs import JobOptions, check_canaries, check_grader, check_method, python_sources
from tailor.jobs.reward_models import is_judge
from tailor.protocol import (
    CheckpointObject,
    CursorPage,
    DistillationMethod,
    EventObject,
    Hyperparameters,
    JobObject,
    JobRequest,
    ReinforcementMethod,
    VersionName,
)
from tailor.server.calls import Call, Reading, Writing
from tailor.server.requests import METADATA_PARAMETER, Cursor, Metadata, new_router
from tailor.server.routes.graders import check_judge, check_source
from tailor.server.translate import checkpoint_object, event_object, job_object, page_object
from tailor.store import Job, JobSpec, Level, Version

router = new_router("fine_tuning", "/v1/fine_tuning/jobs")

IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255)]


@router.post("")
def create_job(call: Writing, body: JobRequest, idempotency_key: IdempotencyKey = None) -> JobObject:
    """Start training; the same request sent again after a lost answer gives the same job."""
    spec, alias = resolve(call, body)
    job = call.store.jobs.add(
        call.tenant,
        spec,
        idempotency_key=idempotency_key,
        retry=call.is_retry,
        notes=_notes(spec, is_alias=alias),
    )
    call.wake_supervisor()
    return _to_wire(call, job)


@router.get("", openapi_extra={"parameters": [METADATA_PARAMETER]})
def list_jobs(call: Reading, cursor: Cursor, metadata: Metadata) -> CursorPage[JobObject]:
    """Jobs, newest first."""
    page = call.store.jobs.list(call.tenant, after=cursor.after, limit=cursor.limit, metadata=metadata)
    return page_object(page, lambda job: _to_wire(call, job))


@router.get("/{job_id}")
def retrieve_job(call: Reading, job_id: str) -> JobObject:
    """One job."""
    return _to_wire(call, call.store.jobs.get(call.tenant, job_id))


@router.post("/{job_id}/cancel")
def cancel_job(call: Writing, job_id: str) -> JobObject:
    """End a job now; its checkpoints stay usable."""
    return _changed(call, call.store.jobs.cancel(call.tenant, job_id))


@router.post("/{job_id}/pause")
def pause_job(call: Writing, job_id: str) -> JobObject:
    """Hold a job after its next save."""
    return _changed(call, call.store.jobs.pause(call.tenant, job_id))


@router.post("/{job_id}/resume")
def resume_job(call: Writing, job_id: str) -> JobObject:
    """Let a paused job go on from where it was."""
    return _changed(call, call.store.jobs.resume(call.tenant, job_id))


@router.get("/{job_id}/events")
def list_events(call: Reading, job_id: str, cursor: Cursor) -> CursorPage[EventObject]:
    """What happened to a job, newest first."""
    page = call.store.jobs.events(call.tenant, job_id, after=cursor.after, limit=cursor.limit)
    return page_object(page, event_object)


@router.get("/{job_id}/checkpoints")
def list_checkpoints(call: Reading, job_id: str, cursor: Cursor) -> CursorPage[CheckpointObject]:
    """A job's usable checkpoints, highest step first."""
    page = call.store.jobs.checkpoints(call.tenant, job_id, after=cursor.after, limit=cursor.limit)
    return page_object(page, checkpoint_object)


def resolve(call: Call, body: JobRequest) -> tuple[JobSpec, bool]:
    """What is asked for, checked without reading the files; and whether the model was an alias."""
    from tailor.training import Wanted  # brings torch, which the server loads in the background

    hyperparameters = _hyperparameters(body)
    asked = hyperparameters.model_dump(include=set(type(hyperparameters).model_fields))
    options = JobOptions.parse(body.tailor or {})
    Wanted.parse(asked, options.training)
    if body.method is not None and body.method.type == "reinforcement":
        _check_reinforcement(call, body.method.reinforcement)
    if body.method is not None and body.method.type == "distillation":
        _check_distillation(call, body.method.distillation)
    if options.canaries is not None:
        check_canaries(call.store, call.tenant, options.canaries)
    base, parent, is_alias = _model(call, body.model)
    _check_parent(call, parent, "supervised" if body.method is None else body.method.type)
    for param, file_id in (("training_file", body.training_file), ("validation_file", body.validation_file)):
        if file_id:
            _check_purpose(call, param, file_id)
    spec = JobSpec(
        requested_model=body.model,
        base=base,
        parent=parent,
        training_file=body.training_file,
        validation_file=body.validation_file or None,
        suffix=body.suffix,
        seed=body.seed,
        metadata=body.metadata,
        method=body.method.model_dump(exclude_unset=True) if body.method else {"type": "supervised"},
        hyperparameters=asked,
        options=body.tailor or {},
        integrations=tuple(item.model_dump() for item in body.integrations or ()),
    )
    return spec, is_alias


def _hyperparameters(body: JobRequest) -> Hyperparameters:
    """Those of the method; the legacy ones count only where no method is given (contract 1.3)."""
    if body.method is None:
        return body.hyperparameters or Hyperparameters()
    if body.method.type not in METHODS:
        raise InvalidRequest(
            f"Training method {body.method.type!r} is not available on this server.",
            param="method.type",
            code="method_not_available",
            remedy=f"This server has: {', '.join(METHODS)}.",
        )
    return body.method.hyperparameters


def _check_reinforcement(call: Call, method: ReinforcementMethod | None) -> None:
    """Refuse what a worker cannot grade with; a python grader is loaded, but sees nothing to grade."""
    sandbox = call.services.sandbox
    checked = check_method(method, sandbox.run, lambda grader, param: check_judge(call, grader, param))
    for param, part in python_sources(checked.grader):
        check_source(sandbox, part, f"{param}.source")


def _check_distillation(call: Call, method: DistillationMethod | None) -> None:
    """Refuse a teacher that cannot be asked, and a grader that a worker cannot grade with."""
    if method is None:
        raise InvalidRequest(
            "A distillation job needs a teacher.",
            param="method.distillation.teacher",
            code="missing_required_parameter",
            remedy='Give "method": {"type": "distillation", "distillation": {"teacher": "MODEL"}}.',
        )
    asking, sandbox, param = call.services.asking, call.services.sandbox, "method.distillation"
    asking.check_model(call.tenant, method.teacher, param=f"{param}.teacher", purpose="teach")
    if asking.is_judge(call.tenant, method.teacher):
        raise InvalidRequest(
            f"{method.teacher} is a reward model: it judges answers and writes none.",
            param=f"{param}.teacher",
            code="invalid_value",
        )
    if method.grader is not None:
        place = f"{param}.grader"
        check_grader(
            method.grader,
            sandbox.run,
            lambda grader, param: check_judge(call, grader, param),
            param=place,
        )
        for where, part in python_sources(method.grader, param=place):
            check_source(sandbox, part, f"{where}.source")


def _model(call: Call, name: str) -> tuple[str, str | None, bool]:
    """Base, parent version, and whether the name was an alias."""
    try:
        if VersionName.parse(name):
            version = call.store.versions.get(call.tenant, name)
            return version.base, version.id, False
        meant = call.store.aliases.resolve(call.tenant, name)
        if meant is not None:
            return (meant.base, meant.id, True) if isinstance(meant, Version) else (meant.name, None, True)
        resolved = call.store.bases.resolve(name)
        return resolved.base.name, None, resolved.is_alias
    except NotFound as error:
        raise InvalidRequest(
            f"Model {name} is not available for fine-tuning or does not exist.",
            param="model",
            code="model_not_available",
            remedy="GET /v1/models lists what can be trained.",
        ) from error


def _check_parent(call: Call, parent: str | None, method: str) -> None:
    """A model that judges writes no answers, so it can only learn to judge further."""
    if parent is None or method == "reward_model":
        return
    if is_judge(call.store.versions.get(call.tenant, parent)):
        raise InvalidRequest(
            f"{parent} is a reward model: it judges answers and writes none.",
            param="model",
            code="model_not_available",
            remedy="Train it further with the method 'reward_model', or choose another model.",
        )


def _check_purpose(call: Call, param: str, file_id: str) -> None:
    try:
        purpose = call.store.files.get(call.tenant, file_id).purpose
    except NotFound:
        return  # the store says so, under the same lock that pins the file
    if purpose != "fine-tune":
        raise InvalidRequest(
            f"{param}: {file_id} was uploaded with purpose '{purpose}'.",
            param=param,
            code=f"invalid_{param}",
            remedy="Upload it again with purpose 'fine-tune'.",
        )


def _notes(spec: JobSpec, *, is_alias: bool) -> list[tuple[Level, str]]:
    """What the caller should know about how the request was understood."""
    notes: list[tuple[Level, str]] = []
    if is_alias:
        notes.append(
            ("info", f"Model {spec.requested_model} is an alias here: training {spec.parent or spec.base}")
        )
    for integration in spec.integrations:
        text = (
            f"Integration {integration['type']} is noted, but this server sends no data out. "
            "The metrics are in the events and in the result file."
        )
        notes.append(("warn", text))
    return notes


def _changed(call: Call, job: Job) -> JobObject:
    call.wake_supervisor()
    return _to_wire(call, job)


def _to_wire(call: Call, job: Job) -> JobObject:
    return job_object(
        job,
        organization=call.services.config.organization,
        queue_position=call.store.jobs.queue_position(call.tenant, job.id)
        if job.status == "queued"
        else None,
    )
