"""What people write onto versions: tags to find them by, notes to remember them by."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from tailor.store.database import Database
from tailor.store.records import to_record
from tailor.store.tables import version_notes, version_tags
from tailor.store.versions import find_version


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something somebody wrote about a version."""

    version: str
    created_at: int
    text: str


class Labels:
    """Tags and notes of a tenant's versions; they go when the version goes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def tags(self, tenant: str) -> dict[str, tuple[str, ...]]:
        """The tags of every version that has any, in alphabetical order."""
        query = (
            select(version_tags.c.version, version_tags.c.tag)
            .where(version_tags.c.tenant == tenant)
            .order_by(version_tags.c.tag)
        )
        found: dict[str, tuple[str, ...]] = {}
        with self._database.read() as connection:
            for version, tag in connection.execute(query):
                found[version] = (*found.get(version, ()), tag)
        return found

    def notes(self, tenant: str, version: str) -> tuple[Note, ...]:
        """The notes of one version, oldest first."""
        query = (
            select(version_notes)
            .where(version_notes.c.tenant == tenant, version_notes.c.version == version)
            .order_by(version_notes.c.sequence)
        )
        with self._database.read() as connection:
            return tuple(to_record(Note, dict(row)) for row in connection.execute(query).mappings())

    def change(
        self,
        tenant: str,
        version: str,
        *,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        note: str | None = None,
    ) -> None:
        """Put tags on, take tags off, write a note; all or nothing. Raises NotFound."""
        with self._database.write() as connection:
            find_version(connection, tenant, version, lock=True)
            mine = (version_tags.c.tenant == tenant, version_tags.c.version == version)
            present = set(connection.execute(select(version_tags.c.tag).where(*mine)).scalars())
            connection.execute(version_tags.delete().where(*mine, version_tags.c.tag.in_(remove)))
            new = sorted(set(add) - (present - set(remove)))
            for tag in new:
                connection.execute(
                    version_tags.insert().values({"tenant": tenant, "version": version, "tag": tag})
                )
            if note is not None:
                values = {"tenant": tenant, "version": version, "created_at": int(time.time()), "text": note}
                connection.execute(version_notes.insert().values(values))
