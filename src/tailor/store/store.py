"""Everything that lasts: one home directory and one database."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from tailor.protocol.ids import random_name
from tailor.store.aliases import Aliases
from tailor.store.bases import Bases
from tailor.store.blobs import Blobs
from tailor.store.completions import Completions
from tailor.store.database import Database
from tailor.store.disk import (
    DEFAULT_FLOOR_BYTES,
    free_bytes,
    full_disk_as_error,
    keep_ballast,
    refuse_network_filesystem,
    require_room,
)
from tailor.store.eval_queue import EvalQueue
from tailor.store.eval_runs import EvalRuns
from tailor.store.evals import Evals
from tailor.store.files import Files
from tailor.store.jobs import Jobs
from tailor.store.keys import Keys
from tailor.store.labels import Labels
from tailor.store.locks import FileLock
from tailor.store.migrate import migrate
from tailor.store.queue import Queue
from tailor.store.usage import Usages
from tailor.store.versions import Versions
from tailor.store.weights import Weights

_OLD_LOCK_SECONDS = 24 * 3600


class Store:
    """The rooms of a home. Every method is safe to call from any thread and from several processes."""

    def __init__(self, home: Path, database: Database, *, floor_bytes: int) -> None:
        """Use `Store.open`."""
        self.home = home
        self.floor_bytes = floor_bytes
        """The disk is never filled beyond this many free bytes."""
        self._database = database
        self._blobs = Blobs(home, floor_bytes=floor_bytes)
        self.weights = Weights(home)
        self.files = Files(database, self._blobs)
        self.jobs = Jobs(database)
        self.queue = Queue(database=database, blobs=self._blobs, weights=self.weights, home=home)
        self.versions = Versions(database, self.weights)
        self.labels = Labels(database)
        self.aliases = Aliases(database)
        self.bases = Bases(database)
        self.keys = Keys(database)
        self.completions = Completions(database)
        self.evals = Evals(database)
        self.eval_runs = EvalRuns(database, self._blobs)
        self.eval_queue = EvalQueue(database=database, blobs=self._blobs, home=home)
        self.usage = Usages(database)

    @classmethod
    def open(
        cls, home: Path, *, database_url: str | None = None, floor_bytes: int = DEFAULT_FLOOR_BYTES
    ) -> Store:
        """Open a home, making it and bringing its database up to date first if need be.

        `database_url` is a SQLAlchemy url for PostgreSQL (`postgresql+psycopg://...`); without it the
        home's own SQLite file is used. Raises InvalidRequest for a home on a network filesystem, or a
        database that a newer tailor has written.
        """
        home = home.absolute()
        for name in ("locks", "checkpoints", "logs"):
            (home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        if database_url is None:
            refuse_network_filesystem(home)
        database = Database(home=home, url=database_url)
        migrate(database, home)
        store = cls(home, database, floor_bytes=floor_bytes)
        store._blobs.sweep_parts()
        return store

    def close(self) -> None:
        """Close the database's connections."""
        self._database.close()

    def ping(self) -> None:
        """Write and take back nothing: raises Unavailable or StorageFull if the store could not write."""
        require_room(self.home, floor_bytes=0)
        with self._database.write():
            pass

    def require_room(self, wanted_bytes: int = 0) -> None:
        """Raise StorageFull unless that much fits above the disk's floor."""
        require_room(self.home, floor_bytes=self.floor_bytes, wanted_bytes=wanted_bytes)

    def own_base(self, name: str) -> Path:
        """Where this home's own copy of a base lies, if it has one."""
        return self.home / "bases" / name

    def keep_base(self, name: str, files: Iterable[Path]) -> Path:
        """Copy a base's files into the home, all of them or nothing; what is there already stays."""
        target = self.own_base(name)
        if not target.is_dir():
            target.parent.mkdir(exist_ok=True, mode=0o700)
            aside = target.with_name(f".tmp-{name}-{random_name(6)}")
            try:
                with full_disk_as_error():
                    aside.mkdir()
                    for path in files:
                        shutil.copyfile(path, aside / path.name)
                    aside.rename(target)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        return target

    def free_bytes(self) -> int:
        """Bytes left on the home's disk."""
        return free_bytes(self.home)

    def keep_ballast(self) -> None:
        """Set 64 MiB aside, dropped by itself when the database meets a full disk (for servers)."""
        keep_ballast(self.home)

    def sweep(self) -> None:
        """Remove what crashes and deletions left behind; for a server, at its start and every hour."""
        self.files.sweep()
        self.versions.sweep()
        self.queue.sweep_saves()
        limit = time.time() - _OLD_LOCK_SECONDS
        locks = self.home / "locks"
        for path in (*locks.glob("ftjob-*.lock"), *locks.glob("evalrun_*.lock")):
            if path.stat().st_mtime < limit and (lock := FileLock.try_acquire(path, create=False)):
                lock.release(remove=True)
