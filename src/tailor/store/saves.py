"""The states of training that a job can go on from: rows here, directories on the disk."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

from sqlalchemy import select

from tailor.store.atomic import remove_directory
from tailor.store.database import Database
from tailor.store.fence import Fence
from tailor.store.records import Save, to_record
from tailor.store.tables import saves


class Saves:
    """The saves of a claimed job."""

    def __init__(self, *, database: Database, fence: Fence) -> None:
        self._database = database
        self._fence = fence

    def list(self) -> tuple[Save, ...]:
        """Newest first."""
        query = select(saves).where(*self._ours()).order_by(saves.c.step.desc())
        with self._database.read() as connection:
            return tuple(to_record(Save, dict(row)) for row in connection.execute(query).mappings())

    def add(self, *, step: int, directory: str) -> None:
        """Record a directory as the save of `step`, in place of an earlier one."""
        fence = self._fence
        with fence.writing(saved_step=step) as connection:
            connection.execute(saves.delete().where(*self._ours(), saves.c.step == step))
            values = {"job_id": fence.job_id, "step": step, "tenant": fence.tenant}
            connection.execute(saves.insert().values(**values, directory=directory, token=fence.token))

    def prune(self, parent: Path, *, keep: int) -> None:
        """Delete all but the newest `keep` (at least 2), and directories in `parent` that no save names."""
        found: builtins.list[Save] = [*self.list()]
        kept, dropped = found[: max(keep, 2)], found[max(keep, 2) :]
        with self._fence.writing() as connection:
            for save in dropped:
                connection.execute(saves.delete().where(*self._ours(), saves.c.step == save.step))
        names = {save.directory for save in kept}
        for path in parent.glob("step-*"):
            if path.name not in names:
                remove_directory(path)

    def _ours(self) -> tuple[Any, ...]:
        return (saves.c.tenant == self._fence.tenant, saves.c.job_id == self._fence.job_id)
