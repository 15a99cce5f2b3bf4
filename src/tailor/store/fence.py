"""Fencing: every write for a claimed job begins by touching its row under the claim's token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, select

from tailor.errors import TailorError
from tailor.store.database import Database
from tailor.store.events import write_event
from tailor.store.locks import FileLock
from tailor.store.records import Job
from tailor.store.tables import jobs


class LeaseLost(TailorError):
    """Somebody else has the job, or it was cancelled: write nothing more, delete your own leftovers, stop."""

    default_code = "lease_lost"


class Fence:
    """One claim on one job: the transactions that only its holder can make."""

    def __init__(self, *, database: Database, job: Job, lock: FileLock) -> None:
        """`job` as it was claimed; `lock` tells the reaper that the holder lives."""
        self.job_id = job.id
        self.tenant = job.tenant
        self.token = job.token
        self._database = database
        self._lock = lock

    @contextmanager
    def writing(self, **values: Any) -> Iterator[Connection]:
        """One transaction that begins by touching our own row: if that row is gone, so is the lease."""
        with self._database.write() as connection:
            touched = jobs.update().where(*self._mine()).values(hb=jobs.c.hb + 1, **values)
            if connection.execute(touched).rowcount != 1:
                raise LeaseLost(f"The lease {self.token} on job {self.job_id} is no longer held.")
            yield connection

    @contextmanager
    def ending(self, **values: Any) -> Iterator[Connection]:
        """The last transaction: the job is free afterwards, and the lock gone."""
        with self.writing(owner=None, wanted="run", estimated_finish=None, **values) as connection:
            yield connection
        self._lock.release(remove=True)

    def read(self, column: str, connection: Connection | None = None) -> Any:
        """A value of our own row; None once it is no longer ours."""
        query = select(jobs.c[column]).where(*self._mine())
        if connection is not None:
            return connection.scalar(query)
        with self._database.read() as fresh:
            return fresh.scalar(query)

    def write_event(self, connection: Connection, message: str, **more: Any) -> bool:
        """Append to the job's log; False if an event with its `once_key` is there already."""
        return write_event(connection, tenant=self.tenant, job_id=self.job_id, message=message, **more)

    def release(self) -> None:
        """Free the lock and leave the row as it is: as good as crashed."""
        self._lock.release(remove=False)

    def _mine(self) -> tuple[Any, ...]:
        return (
            jobs.c.tenant == self.tenant,
            jobs.c.id == self.job_id,
            jobs.c.token == self.token,
            jobs.c.owner.is_not(None),
        )
