"""The operator's catalogue of base models, and which OpenAI names stand for the default one."""

from __future__ import annotations

import re
import time
from typing import Any

from sqlalchemy import Connection, select

from tailor.errors import InvalidRequest
from tailor.protocol.names import BASE_PATTERN
from tailor.store.database import Database
from tailor.store.records import Base, Resolved, to_record
from tailor.store.tables import bases
from tailor.store.versions import model_not_found

ALIASES = re.compile(
    r"(gpt-[a-z0-9.-]{1,60}|chatgpt-[a-z0-9.-]{1,60}|o[0-9][a-z0-9.-]{0,60}|davinci-002|babbage-002)"
)
"""OpenAI's names: code written for them trains and talks to the default base."""


class Bases:
    """Base models, shared by all tenants; only the operator changes them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        *,
        name: str,
        directory: str,
        digest: str,
        template_digest: str,
        context_length: int,
        parameters: int,
        model_type: str,
        make_default: bool = False,
    ) -> Base:
        """Enter a base, or renew its entry; the first one becomes the default."""
        if not re.fullmatch(BASE_PATTERN, name):
            raise InvalidRequest(
                f"'{name[:100]}' cannot name a model: use letters, digits, '.', '_', '-' and '/'.",
                param="name",
            )
        with self._database.write() as connection:
            self._database.serialise(connection, "bases")
            known = {base.name: base for base in _all(connection)}
            earlier = known.get(name)
            values: dict[str, Any] = {
                "name": name,
                "created_at": earlier.created_at if earlier else int(time.time()),
                "directory": directory,
                "digest": digest,
                "template_digest": template_digest,
                "context_length": context_length,
                "parameters": parameters,
                "model_type": model_type,
                "is_default": earlier.is_default if earlier else False,
            }
            if earlier is None:
                connection.execute(bases.insert().values(values))
            else:
                connection.execute(bases.update().where(bases.c.name == name).values(values))
            if make_default or not any(base.is_default for base in known.values()):
                _set_default(connection, name)
            return _find(connection, name)

    def get(self, name: str) -> Base:
        """The base of exactly this name; raises NotFound."""
        with self._database.read() as connection:
            return _find(connection, name)

    def list(self) -> tuple[Base, ...]:
        """Every base, in the order of entry."""
        with self._database.read() as connection:
            return _all(connection)

    def remove(self, name: str) -> None:
        """Strike a base off; its files stay. The oldest one left becomes the default if it was."""
        with self._database.write() as connection:
            self._database.serialise(connection, "bases")
            was_default = _find(connection, name).is_default
            connection.execute(bases.delete().where(bases.c.name == name))
            left = _all(connection)
            if was_default and left:
                _set_default(connection, left[0].name)

    def default(self) -> Base | None:
        """The base that OpenAI's names stand for; None while the catalogue is empty."""
        with self._database.read() as connection:
            return _default(connection)

    def set_default(self, name: str) -> Base:
        """Let OpenAI's names stand for this base; raises NotFound."""
        with self._database.write() as connection:
            self._database.serialise(connection, "bases")
            _find(connection, name)
            _set_default(connection, name)
            return _find(connection, name)

    def resolve(self, name: str) -> Resolved:
        """The base that a caller's model name means: its own name first, then OpenAI's; raises NotFound."""
        with self._database.read() as connection:
            row = connection.execute(select(bases).where(bases.c.name == name)).mappings().one_or_none()
            if row is not None:
                return Resolved(base=to_record(Base, dict(row)), is_alias=False)
            default = _default(connection) if ALIASES.fullmatch(name) else None
            if default is None:
                raise model_not_found(name)
            return Resolved(base=default, is_alias=True)


def _all(connection: Connection) -> tuple[Base, ...]:
    rows = connection.execute(select(bases).order_by(bases.c.sequence)).mappings()
    return tuple(to_record(Base, dict(row)) for row in rows)


def _find(connection: Connection, name: str) -> Base:
    row = connection.execute(select(bases).where(bases.c.name == name)).mappings().one_or_none()
    if row is None:
        raise model_not_found(name)
    return to_record(Base, dict(row))


def _default(connection: Connection) -> Base | None:
    row = connection.execute(select(bases).where(bases.c.is_default)).mappings().one_or_none()
    return None if row is None else to_record(Base, dict(row))


def _set_default(connection: Connection, name: str) -> None:
    connection.execute(bases.update().values(is_default=bases.c.name == name))
