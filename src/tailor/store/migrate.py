"""Bringing a database up to date, one numbered step after the other."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from tailor.errors import InvalidRequest
from tailor.store.database import Database
from tailor.store.locks import exclusive

_SCRIPTS = Path(__file__).parent / "migrations"
_NUMBERED = re.compile(r"([0-9]{4})_[a-z0-9_]+\.py")


def migrate(database: Database, home: Path) -> None:
    """Run the steps that this database lacks; one process at a time, all of them or none."""
    newest = latest_revision()
    if _revision(database) == newest:
        return
    with exclusive(home / "locks" / "migrate.lock"), database.write() as connection:
        database.serialise(connection, "migrate")
        found = _read_revision(connection)
        if found is not None and found > newest:
            raise InvalidRequest(
                f"The database in {home} was written by a newer tailor (schema {found}, ours {newest}).",
                code="database_too_new",
                remedy="Upgrade tailor, or choose another home with --home.",
            )
        if found != newest:
            _upgrade(connection)


def latest_revision() -> str:
    """The number of the newest step in this code."""
    names = (_NUMBERED.fullmatch(path.name) for path in (_SCRIPTS / "versions").iterdir())
    return max(name[1] for name in names if name is not None)


def _revision(database: Database) -> str | None:
    with database.read() as connection:
        return _read_revision(connection)


def _read_revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _upgrade(connection: Connection) -> None:
    # Imported here: an up-to-date database, the usual case, does not need it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
