"""Chat completions that their callers asked us to keep (contract 1.8)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, select

from tailor.errors import NotFound
from tailor.protocol.ids import is_id
from tailor.store.database import Database
from tailor.store.paging import MetadataFilter, Order, Window, matches_metadata, read_page, write_metadata
from tailor.store.records import JsonObject, Page, StoredCompletion, to_record
from tailor.store.tables import completion_metadata, completions


class Completions:
    """A tenant's stored chat completions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        tenant: str,
        *,
        completion_id: str,
        model: str,
        messages: Sequence[JsonObject],
        answer: JsonObject,
        metadata: dict[str, str] | None = None,
    ) -> StoredCompletion:
        """Keep a request's messages and the `chat.completion` object that answered them."""
        stored = StoredCompletion(
            id=completion_id,
            tenant=tenant,
            created_at=int(time.time()),
            model=model,
            messages=tuple(messages),
            answer=answer,
            metadata=metadata,
        )
        values = {field: getattr(stored, field) for field in stored.__dataclass_fields__}
        with self._database.write() as connection:
            connection.execute(completions.insert().values(values | {"messages": list(messages)}))
            self._write_metadata(connection, tenant, completion_id, metadata)
        return stored

    def get(self, tenant: str, completion_id: str) -> StoredCompletion:
        """The stored completion; raises NotFound."""
        with self._database.read() as connection:
            return _find(connection, tenant, completion_id)

    def list(
        self,
        tenant: str,
        *,
        model: str | None = None,
        metadata: MetadataFilter = None,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> Page[StoredCompletion]:
        """A tenant's stored completions, oldest first unless asked otherwise (default limit 20)."""
        conditions = matches_metadata(completions, completion_metadata, tenant, metadata)
        if model is not None:
            conditions.append(completions.c.model == model)
        where = and_(completions.c.tenant == tenant, *conditions)
        window = Window(after=after, limit=limit, default=20, maximum=100, order=order)
        with self._database.read() as connection:
            return read_page(connection, completions, window, where=where, to_item=_to_completion)

    def update_metadata(
        self, tenant: str, completion_id: str, metadata: dict[str, str] | None
    ) -> StoredCompletion:
        """Replace the metadata; raises NotFound."""
        with self._database.write() as connection:
            _find(connection, tenant, completion_id, lock=True)
            connection.execute(
                completions.update()
                .where(completions.c.tenant == tenant, completions.c.id == completion_id)
                .values(metadata=metadata)
            )
            self._write_metadata(connection, tenant, completion_id, metadata)
            return _find(connection, tenant, completion_id)

    def delete(self, tenant: str, completion_id: str) -> None:
        """Forget a stored completion; raises NotFound."""
        with self._database.write() as connection:
            _find(connection, tenant, completion_id, lock=True)
            connection.execute(
                completions.delete().where(completions.c.tenant == tenant, completions.c.id == completion_id)
            )

    def messages(
        self,
        tenant: str,
        completion_id: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> Page[JsonObject]:
        """The messages that were asked, each with an `id` of its own (default limit 20); raises NotFound."""
        stored = self.get(tenant, completion_id)
        items = [message | {"id": f"{stored.id}-{n}"} for n, message in enumerate(stored.messages)]
        if order == "desc":
            items.reverse()
        if after is not None:
            places = [n for n, item in enumerate(items) if item["id"] == after]
            items = items[places[0] + 1 :] if places else []
        size = Window(after=after, limit=limit, default=20, maximum=100).size
        return Page(items=tuple(items[:size]), has_more=len(items) > size)

    def _write_metadata(
        self, connection: Connection, tenant: str, completion_id: str, metadata: dict[str, str] | None
    ) -> None:
        write_metadata(
            connection, completion_metadata, tenant=tenant, owner_id=completion_id, metadata=metadata
        )


def _find(connection: Connection, tenant: str, completion_id: str, *, lock: bool = False) -> StoredCompletion:
    if is_id(completion_id):
        query = select(completions).where(completions.c.tenant == tenant, completions.c.id == completion_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is not None:
            return _to_completion(dict(row))
    raise NotFound(
        f"No such stored completion: {completion_id[:80]}", param="completion_id", code="completion_not_found"
    )


def _to_completion(row: Any) -> StoredCompletion:
    return to_record(StoredCompletion, row)
