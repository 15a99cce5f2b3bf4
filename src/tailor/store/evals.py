"""Evals: what is graded and by what."""

from __future__ import annotations

import time
from typing import Any, Literal

from sqlalchemy import Connection, func, select

from tailor.errors import NotFound
from tailor.protocol.ids import is_id, new_id
from tailor.store.database import Database
from tailor.store.eval_records import Eval
from tailor.store.paging import Order, Window, read_page
from tailor.store.records import JsonObject, Page, to_record
from tailor.store.tables import evals

_KEEP: Any = object()


class Evals:
    """A tenant's evals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        tenant: str,
        *,
        name: str,
        data_source_config: JsonObject,
        testing_criteria: list[JsonObject],
        metadata: dict[str, str] | None = None,
    ) -> Eval:
        """A new eval."""
        values = {
            "id": new_id("eval"),
            "tenant": tenant,
            "created_at": int(time.time()),
            "name": name,
            "data_source_config": data_source_config,
            "testing_criteria": testing_criteria,
            "metadata": metadata,
        }
        with self._database.write() as connection:
            connection.execute(evals.insert().values(values | {"revision": self._next(connection, tenant)}))
            return find_eval(connection, tenant, str(values["id"]))

    def get(self, tenant: str, eval_id: str) -> Eval:
        """The eval; raises NotFound."""
        with self._database.read() as connection:
            return find_eval(connection, tenant, eval_id)

    def list(
        self,
        tenant: str,
        *,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
        order_by: Literal["created_at", "updated_at"] = "created_at",
    ) -> Page[Eval]:
        """A tenant's evals, oldest (or longest unchanged) first unless asked otherwise (default limit 20)."""
        window = Window(after=after, limit=limit, default=20, maximum=100, order=order)
        with self._database.read() as connection:
            return read_page(
                connection,
                evals,
                window,
                where=evals.c.tenant == tenant,
                to_item=_to_eval,
                by="sequence" if order_by == "created_at" else "revision",
            )

    def update(
        self, tenant: str, eval_id: str, *, name: str = _KEEP, metadata: dict[str, str] | None = _KEEP
    ) -> Eval:
        """Change what is given; raises NotFound."""
        given = {"name": name, "metadata": metadata}
        with self._database.write() as connection:
            find_eval(connection, tenant, eval_id, lock=True)
            values = {key: value for key, value in given.items() if value is not _KEEP}
            connection.execute(
                evals.update()
                .where(evals.c.tenant == tenant, evals.c.id == eval_id)
                .values(values | {"revision": self._next(connection, tenant)})
            )
            return find_eval(connection, tenant, eval_id)

    def delete(self, tenant: str, eval_id: str) -> None:
        """Remove the eval with all its runs; those that are going on end. Raises NotFound."""
        with self._database.write() as connection:
            find_eval(connection, tenant, eval_id, lock=True)
            connection.execute(evals.delete().where(evals.c.tenant == tenant, evals.c.id == eval_id))

    def _next(self, connection: Connection, tenant: str) -> int:
        """A number higher than any that a change of this tenant's evals has had."""
        self._database.serialise(connection, f"evals {tenant}")
        newest = select(func.max(evals.c.revision)).where(evals.c.tenant == tenant)
        return (connection.scalar(newest) or 0) + 1


def find_eval(connection: Connection, tenant: str, eval_id: str, *, lock: bool = False) -> Eval:
    """A tenant's eval; unknown and foreign ids are the same NotFound."""
    if is_id(eval_id):
        query = select(evals).where(evals.c.tenant == tenant, evals.c.id == eval_id)
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is not None:
            return _to_eval(dict(row))
    raise NotFound(f"There is no eval {eval_id[:80]}.", param="eval_id", code="eval_not_found")


def _to_eval(row: Any) -> Eval:
    return to_record(Eval, row)
