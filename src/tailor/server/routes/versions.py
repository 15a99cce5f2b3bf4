"""Tuned versions with all that made them (ours): the registry, and making one again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Annotated

from fastapi import Query

from tailor.errors import InvalidRequest, NotFound
from tailor.evals.reproduction import judge, unfinished
from tailor.protocol import Proof, WholeList
from tailor.protocol.versions import (
    Reproduction,
    VersionData,
    VersionEvaluation,
    VersionNote,
    VersionRecord,
    VersionUpdate,
)
from tailor.server.calls import Call, Reading, Writing
from tailor.server.requests import new_router
from tailor.store import Job, JobSpec, Version

router = new_router("tailor", "/v1/tailor/versions")

REPRODUCES = "tailor.reproduces"
"""Metadata of a job that makes a version again."""


@router.get("")
def list_versions(
    call: Reading,
    tag: Annotated[str | None, Query(max_length=64, description="Only with this tag.")] = None,
    base: Annotated[str | None, Query(max_length=128, description="Only of this base.")] = None,
) -> WholeList[VersionRecord]:
    """Every tuned version and checkpoint, oldest first, in short."""
    versions = call.store.versions.list(call.tenant)
    tags = call.store.labels.tags(call.tenant)
    wanted = [
        version
        for version in versions
        if (tag is None or tag in tags.get(version.id, ())) and (base is None or version.base == base)
    ]
    return WholeList(data=_records(call, wanted, versions))


@router.post("/{name:path}/reproductions", status_code=201)
def reproduce(call: Writing, name: str) -> Reproduction:
    """Train a version again from its files, recipe and seed."""
    version = call.store.versions.get(call.tenant, name)
    job = call.store.jobs.get(call.tenant, version.job_id)
    for param, file_id in (("training_file", job.training_file), ("validation_file", job.validation_file)):
        if file_id is not None and not _is_kept(call, file_id):
            raise InvalidRequest(
                f"{name} cannot be made again: {file_id}, its {param.replace('_', ' ')}, has been deleted.",
                param=param,
                code="file_not_kept",
            )
    options = job.options
    if "canaries" in options and not _is_kept(call, str(options["canaries"])):
        options = {name: value for name, value in options.items() if name != "canaries"}  # no part of weights
    spec = JobSpec(
        requested_model=job.requested_model,
        base=job.base,
        parent=job.parent,
        training_file=job.training_file,
        validation_file=job.validation_file,
        suffix=job.suffix,
        seed=job.seed,
        metadata={REPRODUCES: version.id},
        method=job.method,
        hyperparameters=job.hyperparameters,
        options=options,
        integrations=job.integrations,
    )
    made = call.store.jobs.add(
        call.tenant, spec, retry=call.is_retry, notes=[("info", f"Makes {version.id} again")]
    )
    call.wake_supervisor()
    return _reproduction(call, version, made)


@router.get("/{name:path}/reproductions/{job_id}")
def retrieve_reproduction(call: Reading, name: str, job_id: str) -> Reproduction:
    """How far it is, and once it is made, whether it is the same."""
    version = call.store.versions.get(call.tenant, name)
    job = call.store.jobs.get(call.tenant, job_id)
    if (job.metadata or {}).get(REPRODUCES) != version.id:
        raise NotFound(
            f"{job_id} does not make {name[:200]} again.", param="job_id", code="reproduction_not_found"
        )
    return _reproduction(call, version, job)


@router.get("/{name:path}")
def retrieve_version(call: Reading, name: str) -> VersionRecord:
    """One version: its whole lineage, what was written about it, and what came of it."""
    return _whole(call, call.store.versions.get(call.tenant, name))


@router.post("/{name:path}")
def update_version(call: Writing, name: str, body: VersionUpdate) -> VersionRecord:
    """Tag a version, or write a note about it."""
    version = call.store.versions.get(call.tenant, name)
    call.store.labels.change(call.tenant, name, add=body.add_tags, remove=body.remove_tags, note=body.note)
    return _whole(call, version)


def _records(call: Call, wanted: Sequence[Version], versions: Sequence[Version]) -> list[VersionRecord]:
    tags = call.store.labels.tags(call.tenant)
    aliases: dict[str, list[str]] = defaultdict(list)
    for alias in call.store.aliases.list(call.tenant):
        aliases[alias.model].append(alias.name)
    children: dict[str, list[str]] = defaultdict(list)
    for version in versions:
        if version.parent is not None:
            children[version.parent].append(version.id)
    jobs = {job_id: call.store.jobs.get(call.tenant, job_id) for job_id in {one.job_id for one in wanted}}
    return [
        _record(
            version,
            jobs[version.job_id],
            aliases=aliases[version.id],
            tags=tags.get(version.id, ()),
            children=children[version.id],
        )
        for version in wanted
    ]


def _record(
    version: Version, job: Job, *, aliases: list[str], tags: Sequence[str], children: list[str]
) -> VersionRecord:
    proof = version.proof or {}
    return VersionRecord(
        id=version.id,
        created_at=version.created_at,
        kind="version" if version.kind == "final" else "checkpoint",
        aliases=aliases,
        tags=list(tags),
        base=version.base,
        base_digest=version.base_digest,
        template_digest=version.template_digest,
        parent=version.parent,
        children=children,
        job=version.job_id,
        step=version.step,
        method=str(job.method.get("type", "supervised")),
        adapter=version.adapter,
        digest=version.digest,
        seed=job.seed,
        recipe=version.recipe,
        options=job.options,
        software=version.software,
        metrics=version.metrics,
        verdict=proof.get("verdict"),
        score=((proof.get("arms") or {}).get("version") or {}).get("score"),
    )


def _whole(call: Call, version: Version) -> VersionRecord:
    [record] = _records(call, [version], call.store.versions.list(call.tenant))
    job = call.store.jobs.get(call.tenant, version.job_id)
    files = [file_id for file_id in (job.training_file, job.validation_file) if file_id is not None]
    record.data = VersionData(
        training_file=job.training_file,
        training_sha256=job.training_sha256,
        validation_file=job.validation_file,
        validation_sha256=job.validation_sha256,
        is_kept=all(_is_kept(call, file_id) for file_id in files),
        fingerprint=version.dataset_fingerprint,
        report=version.data,
    )
    record.notes = [
        VersionNote(created_at=note.created_at, text=note.text)
        for note in call.store.labels.notes(call.tenant, version.id)
    ]
    record.evaluations = [
        VersionEvaluation(
            eval=run.eval_id,
            run=run.id,
            name=call.store.evals.get(call.tenant, run.eval_id).name,
            created_at=run.created_at,
            status=run.status,
            total=run.total,
            passed=run.tally.passed,
        )
        for run in call.store.eval_runs.of_model(call.tenant, version.id)
    ]
    record.proof = Proof.model_validate(version.proof) if version.proof else None
    return record


def _is_kept(call: Call, file_id: str) -> bool:
    try:
        call.store.files.get(call.tenant, file_id)
    except NotFound:
        return False
    return True


def _reproduction(call: Call, version: Version, job: Job) -> Reproduction:
    made = Reproduction(
        version=version.id,
        job=job.id,
        status=job.status,
        model=job.fine_tuned_model,
        verdict=None,
        sentence=unfinished(version, job),
        differences=[],
    )
    if job.status != "succeeded" or job.fine_tuned_model is None:
        return made
    again = call.store.versions.get(call.tenant, job.fine_tuned_model)
    verdict, sentence, differences = judge(version, again)
    return made.model_copy(update={"verdict": verdict, "sentence": sentence, "differences": differences})
