"""Cursor pages, the same way for every list (contract 1.0)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Table, and_, exists, select

from tailor.store.records import Item, Page

Order = Literal["asc", "desc"]


class NoMetadata:
    """The type of `NO_METADATA`."""


NO_METADATA = NoMetadata()
"""As a metadata filter: only what has no metadata at all (the wire's literal `metadata=null`)."""

MetadataFilter = Mapping[str, str] | NoMetadata | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """Which part of a list: at most `limit` items after the one with the id `after`."""

    after: str | None
    limit: int | None
    default: int
    maximum: int
    order: Order = "desc"

    @property
    def size(self) -> int:
        """How many items at most; a limit below 1 means the default."""
        return min(self.limit, self.maximum) if self.limit and self.limit >= 1 else self.default


def read_page(
    connection: Connection,
    table: Table,
    window: Window,
    *,
    where: ColumnElement[bool],
    to_item: Callable[[Mapping[str, Any]], Item],
    by: str = "sequence",
) -> Page[Item]:
    """The window's items among the rows `where`, in the order of `by`; an unknown cursor gives none."""
    position = table.c[by]
    if window.after is not None:
        # The cursor must lie in the same list: a foreign id is as unknown as a made-up one.
        start = connection.scalar(select(position).where(where, table.c["id"] == window.after))
        if start is None:
            return Page(items=(), has_more=False)
        where = and_(where, position > start if window.order == "asc" else position < start)
    ordered = position.asc() if window.order == "asc" else position.desc()
    query = select(table).where(where).order_by(ordered).limit(window.size + 1)
    rows = connection.execute(query).mappings().all()
    items = tuple(to_item(dict(row)) for row in rows[: window.size])
    return Page(items=items, has_more=len(rows) > window.size)


def matches_metadata(
    owners: Table, pairs: Table, tenant: str, wanted: MetadataFilter
) -> list[ColumnElement[bool]]:
    """Conditions for rows of `owners` whose metadata holds every wanted pair, or none at all."""
    mine = and_(pairs.c.tenant == tenant, pairs.c.owner_id == owners.c["id"])
    if wanted is None:
        return []
    if isinstance(wanted, NoMetadata):
        return [~exists().where(mine)]
    return [exists().where(mine, pairs.c.key == key, pairs.c.value == value) for key, value in wanted.items()]


def write_metadata(
    connection: Connection, pairs: Table, *, tenant: str, owner_id: str, metadata: Mapping[str, str] | None
) -> None:
    """Make the pairs of `owner_id` those of `metadata`, for the filter above."""
    connection.execute(pairs.delete().where(pairs.c.tenant == tenant, pairs.c.owner_id == owner_id))
    rows = [
        {"tenant": tenant, "owner_id": owner_id, "key": key, "value": value}
        for key, value in (metadata or {}).items()
    ]
    if rows:
        connection.execute(pairs.insert(), rows)
