"""Finds workers that are dead or silent and gives their jobs to the next one (reliability 2.3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tailor.store.database import Database
from tailor.store.events import write_event
from tailor.store.jobs import find_job
from tailor.store.locks import FileLock
from tailor.store.records import Job, Level
from tailor.store.tables import ACROSS_TENANTS, jobs

SILENCE_SECONDS = 30.0
MAX_ATTEMPTS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sign:
    """The last sign of life of a holder, by the reaper's own clock."""

    token: int
    hb: int
    first_seen: float


class Reaper:
    """Remembers when each holder last moved. Compares no clocks: only its own, with itself."""

    def __init__(
        self, *, database: Database, home: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._home = home
        self._clock = clock
        self._signs: dict[str, _Sign] = {}

    def reap(self) -> tuple[Job, ...]:
        """The jobs just taken from dead or silent holders, as they are now."""
        query = select(jobs.c.id, jobs.c.tenant, jobs.c.token, jobs.c.hb).where(jobs.c.owner.is_not(None))
        with self._database.read() as connection:
            held = connection.execute(query, execution_options=ACROSS_TENANTS).all()
        self._signs = {row.id: self._sign(row.id, row.token, row.hb) for row in held}
        taken = []
        for row in held:
            lock = FileLock.try_acquire(lock_path(self._home, row.id, row.token), create=False)
            if lock is not None or self._is_silent(row.id):
                job = self._take(row.tenant, row.id, row.token)
                taken += [] if job is None else [job]
            if lock is not None:
                lock.release(remove=True)
        return tuple(taken)

    def _sign(self, job_id: str, token: int, hb: int) -> _Sign:
        last = self._signs.get(job_id)
        if last is not None and (last.token, last.hb) == (token, hb):
            return last
        return _Sign(token=token, hb=hb, first_seen=self._clock())

    def _is_silent(self, job_id: str) -> bool:
        return self._clock() - self._signs[job_id].first_seen >= SILENCE_SECONDS

    def _take(self, tenant: str, job_id: str, token: int) -> Job | None:
        """Fence the holder and decide what becomes of the job; None if it changed hands meanwhile."""
        held = (jobs.c.tenant == tenant, jobs.c.id == job_id, jobs.c.token == token)
        with self._database.write() as connection:
            query = select(jobs).where(*held, jobs.c.owner.is_not(None)).with_for_update()
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            values, message, level = _next(dict(row))
            freed = {"token": token + 1, "owner": None, "wanted": "run", "estimated_finish": None}
            connection.execute(jobs.update().where(*held).values(**freed, **values))
            write_event(connection, tenant=tenant, job_id=job_id, message=message, level=level)
            return find_job(connection, tenant, job_id)


def lock_path(home: Path, job_id: str, token: int) -> Path:
    """The file whose lock says that this lease's holder lives."""
    return home / "locks" / f"{job_id}-{token}.lock"


def _next(row: dict[str, Any]) -> tuple[dict[str, Any], str, Level]:
    """What becomes of a job whose holder is gone: its new values, and what the log says."""
    waiting = "queued" if row["status"] == "running" else "validating_files"
    attempts = 0 if row["saved_step"] > row["attempt_step"] else row["attempts"] + 1
    if attempts >= MAX_ATTEMPTS:
        message = (
            f"The worker stopped unexpectedly {attempts} times in a row without getting past "
            f"step {row['saved_step']}."
        )
        error = {"code": "worker_crashed", "message": message, "param": None}
        ended = {"status": "failed", "error": error, "finished_at": int(time.time()), "attempts": attempts}
        return ended, message, "error"
    if row["wanted"] == "pause":
        paused = {"status": "paused", "resume_status": waiting, "attempts": attempts}
        return paused, "The worker stopped unexpectedly while pausing; the job is paused.", "warn"
    phase = "queued" if waiting == "queued" else "validating"
    return (
        {"status": waiting, "phase": phase, "attempts": attempts},
        "The worker stopped unexpectedly; the job goes on from its last checkpoint",
        "warn",
    )
