"""Trained weights become versions: written whole, under their own hash, with all that says what they are."""

from __future__ import annotations

import shutil
import time
from typing import Literal

from tailor.data import DataReport
from tailor.errors import InvalidRequest, NotFound
from tailor.jobs.attempt import Attempt
from tailor.jobs.names import version_name
from tailor.jobs.prepare import Prepared
from tailor.jobs.results import result_csv
from tailor.jobs.validate import read_checked
from tailor.protocol import Proof
from tailor.store import Checkpoint, FileRecord, JsonObject, Version, reach, write_directory
from tailor.training import Learner, Progress, software

_PAGE = 1000


def publish_weights(attempt: Attempt, prepared: Prepared, learner: Learner, *, step: int) -> str:
    """Write the learner's weights as a version's directory; its digest.

    The files are the same for the same weights, so doing it again gives the same digest.

    Raises:
        InvalidRequest: a weight is not finite.
        StorageFull: there is no room for them.
    """
    lease = attempt.lease
    draft = lease.directory / f".tmp-draft-{step}.{lease.token}"
    name = f".tmp-weights-{step}.{lease.token}"
    try:
        attempt.store.require_room()
        learner.save(draft, base_name=prepared.base.name)
        files = {path.name: path for path in sorted(draft.iterdir())}
        manifest = {"base_digest": prepared.base.digest, "recipe_digest": prepared.recipe.digest}
        directory = write_directory(lease.directory, name, files, manifest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    reach("before_publish_rename")
    return attempt.store.weights.publish(directory)


def make_version(
    attempt: Attempt,
    prepared: Prepared,
    *,
    kind: Literal["final", "checkpoint"],
    step: int,
    digest: str,
    metrics: JsonObject,
    proof: Proof | None = None,
    data: JsonObject | None = None,
) -> Version:
    """The record of a version: everything needed to say what it is and how it came to be."""
    job, recipe = attempt.job, prepared.recipe
    return Version(
        id=version_name(job, attempt.settings.organization, step=step if kind == "checkpoint" else None),
        tenant=job.tenant,
        created_at=int(time.time()),
        base=job.base,
        base_digest=prepared.base.digest,
        kind=kind,
        job_id=job.id,
        step=step,
        digest=digest,
        adapter=recipe.adapter,
        dataset_fingerprint=prepared.training.fingerprint,
        recipe=recipe.to_dict(),
        template_digest=prepared.base.template_digest,
        software=dict(software()),
        metrics=metrics,
        parent=job.parent,
        proof=None if proof is None else proof.model_dump(mode="json"),
        data=data,
    )


def publish_checkpoint(
    attempt: Attempt, prepared: Prepared, learner: Learner, *, step: int, metrics: JsonObject
) -> None:
    """Make the weights at `step` usable as a model; done again it changes nothing."""
    digest = publish_weights(attempt, prepared, learner, step=step)
    version = make_version(attempt, prepared, kind="checkpoint", step=step, digest=digest, metrics=metrics)
    attempt.lease.add_checkpoint(
        step=step,
        name=version.id,
        digest=digest,
        metrics=metrics,
        version=version,
        message=f"Checkpoint created at step {step} with Snapshot ID: {version.id}",
    )


def drop_checkpoint(attempt: Attempt, checkpoint: Checkpoint) -> None:
    """Delete a checkpoint with its model, unless another job trains on from it; may be done again."""
    try:
        attempt.store.versions.delete(attempt.job.tenant, checkpoint.name)
    except NotFound:
        pass
    except InvalidRequest:
        return
    attempt.lease.remove_checkpoint(checkpoint.step)


def publish_final(
    attempt: Attempt,
    prepared: Prepared,
    *,
    digest: str,
    progress: Progress,
    proof: Proof | None,
    losses: FileRecord | None = None,
) -> None:
    """The job has succeeded: result files and version, in one transaction with the job's status."""
    job, lease = attempt.job, attempt.lease
    rows = stored_metrics(attempt)
    record = attempt.store.files.add(
        job.tenant,
        data=result_csv(rows),
        filename="step_metrics.csv",
        purpose="fine-tune-results",
        once_key=f"results:{job.id}",
    )
    version = make_version(
        attempt,
        prepared,
        kind="final",
        step=progress.final_step,
        digest=digest,
        metrics=next((row for row in reversed(rows) if row["step"] <= progress.final_step), {}),
        proof=proof,
        data=_data(attempt, prepared),
    )
    lease.publish(
        version,
        result_files=[record.id, *([losses.id] if losses else [])],
        trained_tokens=progress.num_tokens
        if progress.is_stopped
        else prepared.tokenized.facts.num_tokens * prepared.recipe.num_epochs,
    )


def _data(attempt: Attempt, prepared: Prepared) -> JsonObject:
    """What was learned and what was held out, with the reports of both files."""
    job, lease, tick = attempt.job, attempt.lease, attempt.pulse.stop_if_asked
    dataset = read_checked(lease.open_training(), job, "training_file", tick)
    facts = prepared.tokenized.facts
    learned = f"{len(prepared.training)} examples, {facts.num_tokens:,} tokens an epoch"
    found: JsonObject = {
        "training": _in_short(dataset.report),
        "learned": {"summary": learned, "num_examples": len(prepared.training)},
    }
    stream = lease.open_validation()
    if stream is not None:
        validation = read_checked(stream, job, "validation_file", tick)
        return found | {"validation": _in_short(validation.report)}
    if prepared.held_out is not None:
        count = len(prepared.held_out.dataset)
        summary = f"{count} examples, {prepared.held_out.data}"
        found["held out"] = {"summary": summary, "num_examples": count, "file": prepared.held_out.file}
    return found


def _in_short(report: DataReport) -> JsonObject:
    """A report without what is said line by line."""
    return {
        "summary": report.summary(),
        "num_lines": report.num_lines,
        "num_examples": report.num_examples,
        "num_advice": report.num_advice,
        "counts": report.counts,
    }


def stored_metrics(attempt: Attempt) -> list[JsonObject]:
    """The figures of every step as the job's log has them, in order."""
    job = attempt.job
    rows: list[JsonObject] = []
    after: str | None = None
    while True:
        page = attempt.store.jobs.events(job.tenant, job.id, after=after, limit=_PAGE)
        rows += [event.data for event in page.items if event.type == "metrics"]
        if not page.has_more:
            return sorted(rows, key=lambda row: int(row["step"]))
        after = page.items[-1].id
