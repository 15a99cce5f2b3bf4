"""Names that stand for a model and can be moved: what answers under `prod` today, and what did before."""

from __future__ import annotations

import builtins
import re
import time
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, select

from tailor.errors import InvalidRequest, NotFound
from tailor.protocol.names import ALIAS_PATTERN, VersionName
from tailor.store.bases import ALIASES as OPENAI_NAMES
from tailor.store.database import Database
from tailor.store.faults import reach
from tailor.store.records import Base, JsonObject, Version, to_record
from tailor.store.tables import alias_moves, aliases, bases, versions
from tailor.store.versions import find_version

Action = Literal["promote", "rollback", "remove"]

_NAME = re.compile(ALIAS_PATTERN)


@dataclass(frozen=True, kw_only=True, slots=True)
class Alias:
    """A name and the model that answers under it."""

    tenant: str
    name: str
    model: str
    """A tuned version, a checkpoint or a base."""
    moved_at: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AliasMove:
    """One line of an alias' history."""

    alias: str
    created_at: int
    action: Action
    model: str | None
    """What it stands for from then on; None once it is removed."""
    previous: str | None
    key_id: str
    """The key that was used."""
    forced: bool
    """Whether it was moved although the gate was shut."""
    reason: str | None
    gate: JsonObject | None
    """What the gate said."""


class Aliases:
    """A tenant's aliases. Each move is one transaction: the alias and its history never disagree."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, tenant: str) -> tuple[Alias, ...]:
        """All of a tenant's aliases, by name."""
        query = select(aliases).where(aliases.c.tenant == tenant).order_by(aliases.c.name)
        with self._database.read() as connection:
            return tuple(to_record(Alias, dict(row)) for row in connection.execute(query).mappings())

    def get(self, tenant: str, name: str) -> Alias:
        """The alias; raises NotFound."""
        with self._database.read() as connection:
            return _get(connection, tenant, name)

    def history(self, tenant: str, name: str) -> tuple[AliasMove, ...]:
        """Every move, newest first, of an alias that was removed too; raises NotFound for one never made."""
        with self._database.read() as connection:
            moves = _moves(connection, tenant, name)
        if not moves:
            raise _unknown(name)
        return tuple(reversed(moves))

    def resolve(self, tenant: str, name: str) -> Version | Base | None:
        """What an alias stands for now; None when there is no such alias.

        Read in one transaction, so that a request sees the model from before a move or the one from after.
        """
        if not _NAME.fullmatch(name):
            return None
        with self._database.read() as connection:
            alias = _find(connection, tenant, name)
            return None if alias is None else _model(connection, tenant, alias.model)

    def promote(
        self,
        tenant: str,
        name: str,
        model: str,
        *,
        expected: str | None,
        key_id: str = "",
        forced: bool = False,
        reason: str | None = None,
        gate: JsonObject | None = None,
    ) -> Alias:
        """Let the alias stand for `model`, provided that it stands for `expected` now (None: for nothing).

        Raises:
            NotFound: there is no such model.
            InvalidRequest: the name cannot be an alias, or somebody else has moved it meanwhile.
        """
        check_alias_name(name)
        with self._database.write() as connection:
            self._database.serialise(connection, f"alias {tenant} {name}")
            if connection.scalar(select(bases.c.name).where(bases.c.name == name)) is not None:
                raise _taken(name, "a base of this server")
            _require(connection, tenant, model)
            earlier = _find(connection, tenant, name)
            current = earlier.model if earlier else None
            if current != expected:
                raise InvalidRequest(
                    f"{name} stands for {current or 'nothing'} now, not for {expected or 'nothing'}: "
                    "somebody has moved it meanwhile.",
                    param="model",
                    code="alias_moved",
                    remedy="Look at it and try again.",
                )
            move = AliasMove(
                alias=name,
                created_at=int(time.time()),
                action="promote",
                model=model,
                previous=current,
                key_id=key_id,
                forced=forced,
                reason=reason,
                gate=gate,
            )
            return _apply(connection, tenant, move)

    def roll_back(self, tenant: str, name: str, *, key_id: str = "", reason: str | None = None) -> Alias:
        """Let the alias stand again for what it stood for before its last promotion.

        Again, and it goes one further back; models that were deleted since are passed over. No gate is
        asked: what is wrong must be stoppable at once. Raises NotFound, or InvalidRequest when there is
        nothing to go back to.
        """
        with self._database.write() as connection:
            self._database.serialise(connection, f"alias {tenant} {name}")
            current = _get(connection, tenant, name)
            earlier = _standing(_moves(connection, tenant, name))[:-1]
            alive = [model for model in earlier if _exists(connection, tenant, model)]
            if not alive:
                why = (
                    f"{name} stands for {current.model}, and what it stood for before is gone"
                    if earlier
                    else f"{name} has only ever stood for {current.model}"
                )
                raise InvalidRequest(
                    f"There is nothing to go back to: {why}.",
                    param="alias",
                    code="nothing_to_roll_back",
                )
            move = AliasMove(
                alias=name,
                created_at=int(time.time()),
                action="rollback",
                model=alive[-1],
                previous=current.model,
                key_id=key_id,
                forced=False,
                reason=reason,
                gate=None,
            )
            return _apply(connection, tenant, move)

    def remove(self, tenant: str, name: str, *, key_id: str = "", reason: str | None = None) -> None:
        """Take the name back: nothing answers under it. Its history stays. Raises NotFound."""
        with self._database.write() as connection:
            self._database.serialise(connection, f"alias {tenant} {name}")
            current = _get(connection, tenant, name)
            connection.execute(aliases.delete().where(aliases.c.tenant == tenant, aliases.c.name == name))
            move = AliasMove(
                alias=name,
                created_at=int(time.time()),
                action="remove",
                model=None,
                previous=current.model,
                key_id=key_id,
                forced=False,
                reason=reason,
                gate=None,
            )
            _write(connection, tenant, move)


def _apply(connection: Connection, tenant: str, move: AliasMove) -> Alias:
    """Move the alias and write it down."""
    reach("before_alias_move")
    mine = (aliases.c.tenant == tenant, aliases.c.name == move.alias)
    values = {"model": move.model, "moved_at": move.created_at}
    if not connection.execute(aliases.update().where(*mine).values(values)).rowcount:
        connection.execute(aliases.insert().values(values | {"tenant": tenant, "name": move.alias}))
    reach("between_alias_and_history")
    _write(connection, tenant, move)
    reach("before_alias_commit")
    return _get(connection, tenant, move.alias)


def _write(connection: Connection, tenant: str, move: AliasMove) -> None:
    values = {name: getattr(move, name) for name in AliasMove.__dataclass_fields__}
    connection.execute(alias_moves.insert().values(values | {"tenant": tenant}))


def _standing(moves: builtins.list[AliasMove]) -> builtins.list[str]:
    """The models that the alias stood for and could go back to, the present one last.

    A rollback takes off what it goes back from; a removal takes off all.
    """
    stack: builtins.list[str] = []
    for move in moves:
        if move.model is None:
            stack = []
        elif move.action == "rollback":
            while stack and stack[-1] != move.model:
                stack.pop()
        elif not stack or stack[-1] != move.model:
            stack.append(move.model)
    return stack


def _moves(connection: Connection, tenant: str, name: str) -> builtins.list[AliasMove]:
    if not _NAME.fullmatch(name):
        return []
    query = (
        select(alias_moves)
        .where(alias_moves.c.tenant == tenant, alias_moves.c.alias == name)
        .order_by(alias_moves.c.sequence)
    )
    return [to_record(AliasMove, dict(row)) for row in connection.execute(query).mappings()]


def _find(connection: Connection, tenant: str, name: str) -> Alias | None:
    if not _NAME.fullmatch(name):
        return None
    query = select(aliases).where(aliases.c.tenant == tenant, aliases.c.name == name)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else to_record(Alias, dict(row))


def _get(connection: Connection, tenant: str, name: str) -> Alias:
    found = _find(connection, tenant, name)
    if found is None:
        raise _unknown(name)
    return found


def _unknown(name: str) -> NotFound:
    return NotFound(f"There is no alias {name[:80]!r}.", param="alias", code="alias_not_found")


def _model(connection: Connection, tenant: str, name: str) -> Version | Base:
    if VersionName.parse(name):
        return find_version(connection, tenant, name)
    row = connection.execute(select(bases).where(bases.c.name == name)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"The base {name} is no longer on this server.", param="model", code="model_not_found")
    return to_record(Base, dict(row))


def _require(connection: Connection, tenant: str, name: str) -> None:
    """Raise NotFound unless there is such a model; a version then stays while this transaction lasts."""
    if VersionName.parse(name):
        find_version(connection, tenant, name, lock=True)
    else:
        _model(connection, tenant, name)


def _exists(connection: Connection, tenant: str, name: str) -> bool:
    query: Any = (
        select(versions.c.id).where(versions.c.tenant == tenant, versions.c.id == name).with_for_update()
        if VersionName.parse(name)
        else select(bases.c.name).where(bases.c.name == name)
    )
    return connection.scalar(query) is not None


def check_alias_name(name: str) -> None:
    """Raise InvalidRequest for what can be no alias; a base may still have the name."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"{name[:80]!r} cannot be an alias: use up to 64 letters, digits, '.', '_' and '-'.",
            param="alias",
            code="invalid_alias",
        )
    if OPENAI_NAMES.fullmatch(name):
        raise _taken(name, "a name of OpenAI's, which stands for the default base here")


def _taken(name: str, what: str) -> InvalidRequest:
    return InvalidRequest(
        f"{name} cannot be an alias: it is {what}.",
        param="alias",
        code="invalid_alias",
        remedy="Choose a name of your own, such as prod.",
    )
