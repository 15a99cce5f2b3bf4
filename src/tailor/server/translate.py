"""From what the store keeps to what the wire shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel

from tailor.inference.upstreams import UpstreamModel
from tailor.protocol import (
    ChatCompletion,
    CheckpointMetrics,
    CheckpointObject,
    CursorPage,
    EventObject,
    FileObject,
    JobError,
    JobObject,
    ModelObject,
    StoredMessage,
)
from tailor.store import Base, Checkpoint, Event, FileRecord, Job, JsonObject, Page, StoredCompletion, Version

Item = TypeVar("Item")
Wire = TypeVar("Wire", bound=BaseModel)

OWNER_OF_BASES = "tailor"


def page_object(page: Page[Item], to_wire: Callable[[Item], Wire]) -> CursorPage[Wire]:
    """A page of records as a page of objects."""
    return CursorPage.of([to_wire(item) for item in page.items], has_more=page.has_more)


def file_object(record: FileRecord) -> FileObject:
    """A file on the wire."""
    return FileObject(
        id=record.id,
        bytes=record.bytes,
        created_at=record.created_at,
        filename=record.filename,
        purpose=record.purpose,
        status="error" if record.status == "error" else "processed",
        expires_at=record.expires_at,
    )


def job_object(job: Job, *, organization: str, queue_position: int | None) -> JobObject:
    """A job on the wire, with every key that users of the hosted service read."""
    return JobObject(
        id=job.id,
        created_at=job.created_at,
        finished_at=job.finished_at,
        model=job.parent or job.base,
        fine_tuned_model=job.fine_tuned_model,
        organization_id=organization,
        status=job.status,
        training_file=job.training_file,
        validation_file=job.validation_file,
        result_files=list(job.result_files),
        trained_tokens=job.trained_tokens,
        error=JobError.model_validate(job.error) if job.error else None,
        hyperparameters=job.hyperparameters,
        seed=job.seed,
        estimated_finish=job.estimated_finish if job.status == "running" else None,
        integrations=list(job.integrations),
        method=_method_object(job),
        metadata=job.metadata,
        user_provided_suffix=job.suffix,
        tailor=_progress(job, queue_position),
    )


def event_object(event: Event) -> EventObject:
    """An event on the wire."""
    return EventObject(
        id=event.id,
        created_at=event.created_at,
        level=event.level,
        message=event.message,
        type=event.type,
        data=event.data,
    )


def checkpoint_object(checkpoint: Checkpoint) -> CheckpointObject:
    """A checkpoint on the wire."""
    return CheckpointObject(
        id=checkpoint.id,
        created_at=checkpoint.created_at,
        fine_tuned_model_checkpoint=checkpoint.name,
        fine_tuning_job_id=checkpoint.job_id,
        step_number=checkpoint.step,
        metrics=CheckpointMetrics.model_validate({"step": checkpoint.step} | checkpoint.metrics),
    )


def base_object(base: Base) -> ModelObject:
    """A base model on the wire."""
    return ModelObject(
        id=base.name,
        created=base.created_at,
        owned_by=OWNER_OF_BASES,
        tailor={
            "kind": "base",
            "default": base.is_default,
            "digest": base.digest,
            "context_length": base.context_length,
            "parameters": base.parameters,
            "model_type": base.model_type,
        },
    )


def upstream_object(model: UpstreamModel) -> ModelObject:
    """An upstream's model on the wire, with its price in dollars per million tokens."""
    return ModelObject(
        id=model.name,
        created=model.created_at,
        owned_by=model.upstream,
        tailor={
            "kind": "upstream",
            "input_price": model.input_price,
            "cached_input_price": model.cached_input_price,
            "output_price": model.output_price,
        },
    )


def version_object(version: Version, *, organization: str, aliases: Sequence[str] = ()) -> ModelObject:
    """A tuned version or checkpoint on the wire."""
    return ModelObject(
        id=version.id,
        created=version.created_at,
        owned_by=organization,
        tailor={
            "kind": "version" if version.kind == "final" else "checkpoint",
            "base": version.base,
            "parent": version.parent,
            "aliases": list(aliases),
            "job": version.job_id,
            "step": version.step,
            "adapter": version.adapter,
            "digest": version.digest,
            "dataset_fingerprint": version.dataset_fingerprint,
            "recipe": version.recipe,
            "metrics": version.metrics,
            "software": version.software,
        },
    )


def completion_object(stored: StoredCompletion) -> ChatCompletion:
    """A stored completion as it was answered, with the metadata it has now."""
    return ChatCompletion.model_validate(stored.answer | {"metadata": stored.metadata or {}})


def stored_message(message: JsonObject) -> StoredMessage:
    """A message of a stored completion on the wire: text as `content`, other parts beside it."""
    content = message.get("content")
    if not isinstance(content, list):
        return StoredMessage.model_validate(message)
    text = "".join(str(part.get("text", "")) for part in content)
    return StoredMessage.model_validate(message | {"content": text, "content_parts": content})


def _method_object(job: Job) -> JsonObject:
    """The method with the hyperparameters that are in force."""
    kind = str(job.method.get("type", "supervised"))
    return {"type": kind, kind: {"hyperparameters": job.hyperparameters}}


def _progress(job: Job, queue_position: int | None) -> JsonObject:
    return job.options | {
        "phase": job.phase,
        "base": job.base,
        "requested_model": job.requested_model,
        "parent": job.parent,
        "step": job.step,
        "total_steps": job.total_steps,
        "max_microbatch_tokens": job.max_microbatch_tokens,
        "queue_position": queue_position,
        "pause_reason": job.pause_reason,
        "proof": f"/v1/tailor/models/{job.fine_tuned_model}/proof" if job.fine_tuned_model else None,
    }
