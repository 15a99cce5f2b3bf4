"""What tenants have used of upstream models, by the day (UTC): tokens and what they cost."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import func, select

from tailor.store.database import Database
from tailor.store.tables import usage

DAY_SECONDS = 24 * 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUse:
    """What one tenant used of one model."""

    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    """Of the prompt's tokens, those that the upstream had cached."""
    nanodollars: int
    """At the prices of their time; whole numbers, so that sums are exact."""


class Usages:
    """The table of uses."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, tenant: str, use: ModelUse, *, at: float | None = None) -> None:
        """Add to today's row."""
        day = int((time.time() if at is None else at) // DAY_SECONDS) * DAY_SECONDS
        place = (usage.c.tenant == tenant, usage.c.model == use.model, usage.c.day == day)
        counts = {
            name: getattr(use, name)
            for name in ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "nanodollars")
        }
        with self._database.write() as connection:
            self._database.serialise(connection, f"usage {tenant}")
            more = {name: usage.c[name] + count for name, count in counts.items()}
            if not connection.execute(usage.update().where(*place).values(more)).rowcount:
                key = {"tenant": tenant, "model": use.model, "day": day}
                connection.execute(usage.insert().values(key | counts))

    def list(self, tenant: str, *, since: int = 0, until: int | None = None) -> tuple[ModelUse, ...]:
        """A tenant's uses by model, the costliest first, of the days from `since` to before `until`."""
        sums = [
            func.sum(usage.c[name]).label(name) for name in ModelUse.__dataclass_fields__ if name != "model"
        ]
        where = [usage.c.tenant == tenant, usage.c.day > since - DAY_SECONDS]
        if until is not None:
            where.append(usage.c.day < until)
        query = (
            select(usage.c.model, *sums)
            .where(*where)
            .group_by(usage.c.model)
            .order_by(func.sum(usage.c.nanodollars).desc(), usage.c.model)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(
            ModelUse(model=row["model"], **{name: int(row[name]) for name in row if name != "model"})
            for row in rows
        )
