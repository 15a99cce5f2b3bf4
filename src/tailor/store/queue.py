"""The durable queue: who may work on which job (reliability 2.3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from tailor.store.atomic import remove_directory, sweep_leftovers
from tailor.store.blobs import Blobs
from tailor.store.crashes import Ending
from tailor.store.database import Database
from tailor.store.jobs import find_job, resume_job
from tailor.store.lease import Lease
from tailor.store.locks import FileLock
from tailor.store.reaper import Reaper, lock_path
from tailor.store.records import ClaimPhase, Job, to_record
from tailor.store.tables import ACROSS_TENANTS, jobs
from tailor.store.weights import Weights

KEEP_SAVES_SECONDS = 7 * 24 * 3600
"""A cancelled or failed job's last state can be looked at for a week."""
_WAITING = {"validate": "validating_files", "train": "queued"}
_HELD = {"validate": "validating_files", "train": "running"}


class Queue:
    """Jobs that wait for a worker, and the leases on those that have one."""

    def __init__(self, *, database: Database, blobs: Blobs, weights: Weights, home: Path) -> None:
        self._database = database
        self._blobs = blobs
        self._weights = weights
        self._home = home
        self._reaper = Reaper(database=database, home=home)

    def claim(
        self, phase: ClaimPhase, owner: str, *, job_id: str | None = None, at_most: int | None = None
    ) -> Lease | None:
        """The oldest job waiting for `phase` (or that one job), now ours; None when there is none.

        None also while `at_most` jobs are held for that phase already, by whichever processes.
        The lease lives as long as this process unless it is given back: the kernel frees its lock.
        """
        lock: FileLock | None = None
        try:
            with self._database.write() as connection:
                if at_most is not None and self._num_held(connection, phase) >= at_most:
                    return None
                row = (
                    connection.execute(_oldest_waiting(phase, job_id), execution_options=ACROSS_TENANTS)
                    .mappings()
                    .one_or_none()
                )
                if row is None:
                    return None
                waiting = to_record(Job, dict(row))
                token = waiting.token + 1
                # Locked before the claim can be seen, so the reaper never takes it for dead.
                lock = FileLock.try_acquire(lock_path(self._home, waiting.id, token))
                if lock is None:
                    return None
                connection.execute(
                    jobs.update()
                    .where(jobs.c.tenant == waiting.tenant, jobs.c.id == waiting.id)
                    .values(_claimed(phase, owner, token, waiting))
                )
                job = find_job(connection, waiting.tenant, waiting.id)
        except BaseException:
            if lock is not None:
                lock.release(remove=True)
            raise
        return Lease(
            database=self._database,
            blobs=self._blobs,
            weights=self._weights,
            home=self._home,
            job=job,
            phase=phase,
            lock=lock,
        )

    def waiting(self, phase: ClaimPhase) -> int:
        """How many jobs wait for a worker of `phase`."""
        query = (
            select(func.count())
            .select_from(jobs)
            .where(jobs.c.status == _WAITING[phase], jobs.c.owner.is_(None))
        )
        with self._database.read() as connection:
            return connection.execute(query, execution_options=ACROSS_TENANTS).scalar_one()

    def held(self) -> tuple[Job, ...]:
        """The jobs that somebody holds now, oldest first; for supervisors."""
        query = select(jobs).where(jobs.c.owner.is_not(None)).order_by(jobs.c.sequence)
        with self._database.read() as connection:
            rows = connection.execute(query, execution_options=ACROSS_TENANTS).mappings()
            return tuple(to_record(Job, dict(row)) for row in rows)

    def reap(self, ending_of: Callable[[str], Ending] = lambda owner: "crashed") -> tuple[Job, ...]:
        """Take back the jobs of dead workers; they go on from their last save. Call it every second.

        `ending_of` tells how a worker died, by the name it claimed with; it decides whether the next attempt
        is a smaller one. One thread only: what is remembered between calls tells a silent worker from a slow
        one.
        """
        return self._reaper.reap(ending_of)

    def resume_paused(self, reason: str) -> tuple[Job, ...]:
        """Resume every job that was paused for `reason` (such as `disk_full`, once there is room)."""
        query = select(jobs).where(jobs.c.status == "paused", jobs.c.pause_reason == reason)
        with self._database.write() as connection:
            rows = connection.execute(query.with_for_update(), execution_options=ACROSS_TENANTS).mappings()
            paused = [to_record(Job, dict(row)) for row in rows]
            for job in paused:
                resume_job(connection, job)
            return tuple(find_job(connection, job.tenant, job.id) for job in paused)

    def sweep_saves(self) -> None:
        """Remove the saves of jobs that need none any more: succeeded ones, others a week after their end."""
        limit = int(time.time()) - KEEP_SAVES_SECONDS
        for directory in (self._home / "checkpoints").iterdir():
            query = select(jobs.c.status, jobs.c.finished_at).where(jobs.c.id == directory.name)
            with self._database.read() as connection:
                row = connection.execute(query, execution_options=ACROSS_TENANTS).one_or_none()
            if row is None or row.status == "succeeded" or (row.finished_at or limit) < limit:
                remove_directory(directory)
        sweep_leftovers(self._home / "checkpoints")

    def _num_held(self, connection: Connection, phase: ClaimPhase) -> int:
        self._database.serialise(connection, f"claims of {phase}")
        query = (
            select(func.count())
            .select_from(jobs)
            .where(jobs.c.owner.is_not(None), jobs.c.status == _HELD[phase])
        )
        return connection.execute(query, execution_options=ACROSS_TENANTS).scalar_one()


def _oldest_waiting(phase: ClaimPhase, job_id: str | None) -> Any:
    query = select(jobs).where(jobs.c.status == _WAITING[phase], jobs.c.owner.is_(None))
    if job_id is not None:
        query = query.where(jobs.c.id == job_id)
    # PostgreSQL: two claimers take two different rows; SQLite has one writer anyway.
    return query.order_by(jobs.c.sequence).limit(1).with_for_update(skip_locked=True)


def _claimed(phase: ClaimPhase, owner: str, token: int, waiting: Job) -> dict[str, Any]:
    values: dict[str, Any] = {"owner": owner, "token": token, "hb": 0, "attempt_step": waiting.saved_step}
    if phase == "validate":
        return values | {"phase": "validating"}
    started_at = int(time.time()) if waiting.started_at is None else waiting.started_at
    return values | {"status": "running", "phase": "preparing", "started_at": started_at}
