"""Jobs as their owners see them: asked for, listed, cancelled, paused and resumed."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NoReturn

from sqlalchemy import Connection, and_, func, select

from tailor.errors import InvalidRequest, NotFound
from tailor.protocol.ids import is_id, new_id
from tailor.store.database import Database
from tailor.store.events import write_event
from tailor.store.files import find_file
from tailor.store.paging import MetadataFilter, Window, matches_metadata, read_page, write_metadata
from tailor.store.records import Checkpoint, Event, Job, JobSpec, Level, Page, to_record
from tailor.store.tables import ACROSS_TENANTS, checkpoints, events, job_metadata, jobs, versions

RETRY_WINDOW_SECONDS = 15 * 60
_LARGEST_SEED = 2**31 - 1


class Jobs:
    """A tenant's fine-tuning jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        tenant: str,
        spec: JobSpec,
        *,
        idempotency_key: str | None = None,
        retry: bool = False,
        notes: Sequence[tuple[Level, str]] = (),
    ) -> Job:
        """Enter a job, in `validating_files`, with its first two events and the caller's `notes` after them.

        The same `idempotency_key` again returns the job it made, or raises InvalidRequest when something
        else is asked for under it. With `retry` (the client says that it sends this again) an equal
        request of the last 15 minutes returns that job. Two first tries are two jobs.
        Raises InvalidRequest when a file or the parent version is not the tenant's.
        """
        digest = _digest(spec)
        with self._database.write() as connection:
            self._database.serialise(connection, f"jobs {tenant}")
            earlier = _earlier(connection, tenant, digest, idempotency_key, retry)
            if earlier is not None:
                return earlier
            values = _new_row(connection, tenant, spec) | {
                "idempotency_key": idempotency_key,
                "spec_sha256": digest,
            }
            job_id = values["id"]
            connection.execute(jobs.insert().values(values))
            write_metadata(connection, job_metadata, tenant=tenant, owner_id=job_id, metadata=spec.metadata)
            also = f" and validation file: {spec.validation_file}" if spec.validation_file else ""
            first: tuple[tuple[Level, str], ...] = (
                ("info", f"Created fine-tuning job: {job_id}"),
                ("info", f"Validating training file: {spec.training_file}{also}"),
            )
            for level, message in (*first, *notes):
                write_event(connection, tenant=tenant, job_id=job_id, message=message, level=level)
            return find_job(connection, tenant, job_id)

    def get(self, tenant: str, job_id: str) -> Job:
        """The job as it is now; raises NotFound."""
        with self._database.read() as connection:
            return find_job(connection, tenant, job_id)

    def list(
        self,
        tenant: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        metadata: MetadataFilter = None,
    ) -> Page[Job]:
        """A tenant's jobs, newest first (default limit 20).

        `metadata` keeps the jobs that carry every given pair; `NO_METADATA` those that carry none.
        """
        where = and_(jobs.c.tenant == tenant, *matches_metadata(jobs, job_metadata, tenant, metadata))
        window = Window(after=after, limit=limit, default=20, maximum=1000)
        with self._database.read() as connection:
            return read_page(connection, jobs, window, where=where, to_item=_to_job)

    def events(
        self, tenant: str, job_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Event]:
        """The job's log, newest first (default limit 20); raises NotFound."""
        where = and_(events.c.tenant == tenant, events.c.job_id == job_id)
        window = Window(after=after, limit=limit, default=20, maximum=1000)
        with self._database.read() as connection:
            find_job(connection, tenant, job_id)
            return read_page(
                connection, events, window, where=where, to_item=lambda row: to_record(Event, row)
            )

    def checkpoints(
        self, tenant: str, job_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Page[Checkpoint]:
        """The job's usable checkpoints, highest step first (default limit 10); raises NotFound."""
        where = and_(checkpoints.c.tenant == tenant, checkpoints.c.job_id == job_id)
        window = Window(after=after, limit=limit, default=10, maximum=1000)
        with self._database.read() as connection:
            find_job(connection, tenant, job_id)
            return read_page(
                connection,
                checkpoints,
                window,
                where=where,
                to_item=lambda row: to_record(Checkpoint, row),
                by="step",
            )

    def queue_position(self, tenant: str, job_id: str) -> int | None:
        """How many queued jobs, of any tenant, start before this one; None when it is not queued."""
        with self._database.read() as connection:
            job = find_job(connection, tenant, job_id)
            if job.status != "queued":
                return None
            mine = select(jobs.c.sequence).where(jobs.c.tenant == tenant, jobs.c.id == job_id)
            ahead = (
                select(func.count())
                .select_from(jobs)
                .where(jobs.c.status == "queued", jobs.c.sequence < mine.scalar_subquery())
            )
            return connection.execute(ahead, execution_options=ACROSS_TENANTS).scalar_one()

    def cancel(self, tenant: str, job_id: str) -> Job:
        """End the job now, whatever it is doing; its worker's next write is refused.

        Raises InvalidRequest when it has ended already, NotFound when it is not the tenant's.
        """
        with self._database.write() as connection:
            job = find_job(connection, tenant, job_id, lock=True)
            if job.is_terminal:
                _refuse(job, "cancelled", "job_not_cancellable")
            _update(
                connection, job, "Job cancelled", status="cancelled", finished_at=int(time.time()), **_FREED
            )
            return find_job(connection, tenant, job_id)

    def pause(self, tenant: str, job_id: str) -> Job:
        """Hold the job: at once before training, after its next save while it runs.

        Raises InvalidRequest when it is paused already or has ended. A pause already asked for stands.
        """
        with self._database.write() as connection:
            job = find_job(connection, tenant, job_id, lock=True)
            if job.is_terminal or job.status == "paused":
                _refuse(job, "paused", "job_not_pausable")
            if job.status == "running" and job.wanted == "run":
                _update(connection, job, "Pausing: the job stops after saving its state", wanted="pause")
            elif job.status != "running":
                _update(connection, job, "Job paused", status="paused", resume_status=job.status, **_FREED)
            return find_job(connection, tenant, job_id)

    def resume(self, tenant: str, job_id: str) -> Job:
        """Let a paused job go on from where it was, or withdraw a pause that has not happened yet.

        Raises InvalidRequest when it is neither paused nor pausing.
        """
        with self._database.write() as connection:
            job = find_job(connection, tenant, job_id, lock=True)
            if job.status == "paused":
                resume_job(connection, job)
            elif job.status == "running" and job.wanted == "pause":
                _update(connection, job, "Job resumed", wanted="run")
            else:
                _refuse(job, "resumed", "job_not_resumable")
            return find_job(connection, tenant, job_id)


_FREED: dict[str, Any] = {
    # A higher token fences whoever holds the job.
    "token": jobs.c.token + 1,
    "owner": None,
    "wanted": "run",
    "estimated_finish": None,
}


def find_job(connection: Connection, tenant: str, job_id: str, *, lock: bool = False) -> Job:
    """The row of a tenant's job; unknown and foreign ids are the same NotFound."""
    if is_id(job_id):
        query = select(jobs).where(jobs.c.tenant == tenant, jobs.c.id == job_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is not None:
            return _to_job(dict(row))
    raise NotFound(
        f"Could not find fine tune: {job_id[:80]}", param="fine_tune_id", code="fine_tune_not_found"
    )


def resume_job(connection: Connection, job: Job) -> None:
    """Put a paused job back to where it was held."""
    _update(
        connection,
        job,
        "Job resumed",
        status=jobs.c.resume_status,
        wanted="run",
        pause_reason=None,
        attempts=0,
    )


def _update(connection: Connection, job: Job, message: str, **values: Any) -> None:
    connection.execute(jobs.update().where(jobs.c.tenant == job.tenant, jobs.c.id == job.id).values(**values))
    write_event(connection, tenant=job.tenant, job_id=job.id, message=message)


def _refuse(job: Job, wanted: str, code: str) -> NoReturn:
    # 400, for a client would send a 409 again by itself.
    raise InvalidRequest(f"Job {job.id} is {job.status}, so it cannot be {wanted}.", code=code)


def _to_job(row: Any) -> Job:
    return to_record(Job, row)


def _digest(spec: JobSpec) -> str:
    canonical = json.dumps(asdict(spec), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _earlier(
    connection: Connection, tenant: str, digest: str, idempotency_key: str | None, retry: bool
) -> Job | None:
    """The job that an earlier try of this request made, if there is one."""
    if idempotency_key is not None:
        same = and_(jobs.c.tenant == tenant, jobs.c.idempotency_key == idempotency_key)
    elif retry:
        recent = jobs.c.created_at > int(time.time()) - RETRY_WINDOW_SECONDS
        same = and_(jobs.c.tenant == tenant, jobs.c.spec_sha256 == digest, recent)
    else:
        return None
    query = select(jobs).where(same).order_by(jobs.c.sequence.desc()).limit(1)
    row = connection.execute(query).mappings().one_or_none()
    if row is not None and row["spec_sha256"] != digest:
        raise InvalidRequest(
            "This Idempotency-Key was used before, for a different request.",
            code="idempotency_key_reused",
            remedy="Send a new key with a new request.",
        )
    return None if row is None else _to_job(dict(row))


def _new_row(connection: Connection, tenant: str, spec: JobSpec) -> dict[str, Any]:
    validation = spec.validation_file
    if spec.parent is not None:
        _require_version(connection, tenant, spec.parent)
    return asdict(spec) | {
        "id": new_id("job"),
        "tenant": tenant,
        "created_at": int(time.time()),
        "status": "validating_files",
        "phase": "validating",
        "training_sha256": _pin(connection, tenant, spec.training_file, "training_file"),
        "validation_sha256": _pin(connection, tenant, validation, "validation_file") if validation else None,
        "seed": secrets.randbelow(_LARGEST_SEED) if spec.seed is None else spec.seed,
        "integrations": list(spec.integrations),
        "result_files": [],
        "step": 0,
        "saved_step": 0,
        "token": 0,
        "hb": 0,
        "wanted": "run",
        "resume_status": "validating_files",
        "attempts": 0,
        "attempt_step": 0,
    }


def _pin(connection: Connection, tenant: str, file_id: str, param: str) -> str:
    """The hash of the file's bytes; from now on they stay until the job has ended."""
    try:
        # The lock makes a deletion beside us wait, so that it sees the job's pin.
        return find_file(connection, tenant, file_id, lock=True).sha256
    except NotFound as error:
        raise InvalidRequest(
            f"{param}: there is no file {file_id[:80]}.",
            param=param,
            code=f"invalid_{param}",
            remedy="Upload it with purpose 'fine-tune' and use the id that comes back.",
        ) from error


def _require_version(connection: Connection, tenant: str, name: str) -> None:
    query = select(versions.c.id).where(versions.c.tenant == tenant, versions.c.id == name)
    if connection.execute(query.with_for_update()).first() is None:
        raise InvalidRequest(
            f"Model {name[:200]} is not available for fine-tuning or does not exist.",
            param="model",
            code="model_not_available",
        )
