"""Finds workers that are dead or silent and gives their jobs to the next one (reliability 2.3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from tailor.store.crashes import Ending, fate_of
from tailor.store.database import Database
from tailor.store.events import write_event
from tailor.store.jobs import find_job
from tailor.store.locks import FileLock
from tailor.store.records import Job, to_record
from tailor.store.tables import ACROSS_TENANTS, jobs

SILENCE_SECONDS = 30.0


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

    def reap(self, ending_of: Callable[[str], Ending] = lambda owner: "crashed") -> tuple[Job, ...]:
        """The jobs just taken from dead or silent holders, as they are now.

        `ending_of` is asked how a dead owner came to its end.
        """
        columns = (jobs.c.id, jobs.c.tenant, jobs.c.token, jobs.c.hb, jobs.c.owner)
        query = select(*columns).where(jobs.c.owner.is_not(None))
        with self._database.read() as connection:
            held = connection.execute(query, execution_options=ACROSS_TENANTS).all()
        self._signs = {row.id: self._sign(row.id, row.token, row.hb) for row in held}
        taken = []
        for row in held:
            lock = FileLock.try_acquire(lock_path(self._home, row.id, row.token), create=False)
            if lock is not None or self._is_silent(row.id):
                ending = ending_of(row.owner) if lock is not None else "crashed"
                job = self._take(row.tenant, row.id, row.token, ending)
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

    def _take(self, tenant: str, job_id: str, token: int, ending: Ending = "crashed") -> Job | None:
        """Fence the holder and decide what becomes of the job; None if it changed hands meanwhile."""
        held = (jobs.c.tenant == tenant, jobs.c.id == job_id, jobs.c.token == token)
        with self._database.write() as connection:
            query = select(jobs).where(*held, jobs.c.owner.is_not(None)).with_for_update()
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            fate = fate_of(to_record(Job, dict(row)), attempt_step=row["attempt_step"], ending=ending)
            freed = {"token": token + 1, "owner": None, "wanted": "run", "estimated_finish": None}
            connection.execute(jobs.update().where(*held).values(**freed, **fate.values))
            write_event(connection, tenant=tenant, job_id=job_id, message=fate.message, level=fate.level)
            return find_job(connection, tenant, job_id)


def lock_path(home: Path, job_id: str, token: int) -> Path:
    """The file whose lock says that this lease's holder lives."""
    return home / "locks" / f"{job_id}-{token}.lock"
