"""The connection to SQLite or PostgreSQL: short transactions, one writer at a time, patience when locked."""

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy import exc as sql_errors

from tailor.errors import StorageFull, Unavailable
from tailor.store.disk import drop_ballast

BUSY_TIMEOUT_MS = 10_000
TRIES = 5


def wal_is_safe(version: tuple[int, ...]) -> bool:
    """Whether this SQLite is free of the WAL-reset corruption bug (reliability finding 5)."""
    fixed_in = {(3, 50): 7, (3, 44): 6}.get((version[0], version[1]))
    return version >= (3, 51, 3) or (fixed_in is not None and version[2] >= fixed_in)


class Database:
    """All SQL goes through `read` and `write`."""

    def __init__(self, *, home: Path, url: str | None = None) -> None:
        """Open `url`, or the SQLite file of `home`; nothing is created in the schema here."""
        self.home = home
        self.is_sqlite = url is None or url.startswith("sqlite")
        self._turn = threading.Lock()
        self.engine = _sqlite_engine(home, url) if self.is_sqlite else _postgres_engine(url or "")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A consistent view for a few look-ups; raises Unavailable (503) when the database stays locked."""
        with self._errors_in_our_words(), self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: all of the block or nothing of it. Never open a second one inside.

        On SQLite the write lock is taken at once (`BEGIN IMMEDIATE`), so nothing read inside can change
        before the commit. Raises Unavailable (503) when the lock cannot be had.
        """
        # Threads of one process queue for their turn instead of polling SQLite's lock.
        turn = self._turn if self.is_sqlite else nullcontext()
        with self._errors_in_our_words(), turn, self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    def serialise(self, connection: Connection, name: str) -> None:
        """Let no other transaction that asks for `name` run beside this one; SQLite's never do anyway."""
        if not self.is_sqlite:
            number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": number})

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self.engine.connect() as connection:
            try:
                if self.is_sqlite:
                    _patiently(lambda: connection.exec_driver_sql(begin))
                yield connection
                if self.is_sqlite:
                    _patiently(lambda: connection.exec_driver_sql("COMMIT"))
                else:
                    connection.commit()
            except Exception:
                if not connection.invalidated:
                    connection.connection.rollback()
                raise
            except BaseException:
                # Cancelled in the middle: never hand this connection to anybody else (reliability R4).
                connection.invalidate()
                raise

    @contextmanager
    def _errors_in_our_words(self) -> Iterator[None]:
        try:
            yield
        except (sql_errors.OperationalError, sql_errors.TimeoutError) as error:
            # The driver's own words: ours would hold the statement, and so what users wrote.
            words = str(error.orig) if isinstance(error, sql_errors.OperationalError) else ""
            if "disk is full" in words or "No space left" in words:
                drop_ballast(self.home)
                remedy = "Free some space and try again."
                raise StorageFull("The server's disk is full.", remedy=remedy) from error
            # PostgreSQL's operational errors are all of this kind: unreachable, restarting, a deadlock.
            if not self.is_sqlite or not words or _is_lock(error):
                raise Unavailable("The database is busy; try again.", retry_after_seconds=2.0) from error
            raise


def _postgres_engine(url: str) -> Engine:
    return create_engine(url, json_serializer=_to_json, hide_parameters=True, pool_pre_ping=True)


def _sqlite_engine(home: Path, url: str | None) -> Engine:
    # AUTOCOMMIT stops the driver from opening transactions by itself; `read` and `write` do.
    engine = create_engine(
        url or URL.create("sqlite", database=str(home / "tailor.db")),
        isolation_level="AUTOCOMMIT",
        json_serializer=_to_json,
        hide_parameters=True,
        pool_size=8,
        max_overflow=56,
    )
    journal = "WAL" if wal_is_safe(sqlite3.sqlite_version_info) else "DELETE"

    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "foreign_keys=ON",
            f"journal_mode={journal}",
            "synchronous=FULL",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", prepare)
    return engine


def _patiently(action: Callable[[], object]) -> None:
    """Try a few times, further apart each time, before telling the caller to come back later."""
    for attempt in range(TRIES):
        try:
            action()
            return
        except sql_errors.OperationalError as error:
            if not _is_lock(error) or attempt == TRIES - 1:
                raise
            time.sleep(random.uniform(0.01, 0.05) * 2**attempt)  # noqa: S311 - jitter, not a secret


def _is_lock(error: Exception) -> bool:
    return isinstance(error, sql_errors.OperationalError) and "is locked" in str(error.orig)


def _to_json(value: object) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
