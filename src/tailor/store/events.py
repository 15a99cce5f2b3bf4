"""A job's log: written inside the transaction of what it tells about, each line made once."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import Connection, select

from tailor.protocol.ids import new_id
from tailor.store.records import EventType, JsonObject, Level
from tailor.store.tables import events


def write_event(
    connection: Connection,
    *,
    tenant: str,
    job_id: str,
    message: str,
    level: Level = "info",
    type: EventType = "message",
    data: JsonObject | None = None,
    once_key: str | None = None,
) -> bool:
    """Append an event; False, and nothing written, when the job has one with this `once_key`.

    The caller's transaction must hold the job's row, which keeps the sequence and the keys in order.
    """
    mine = (events.c.tenant == tenant, events.c.job_id == job_id)
    if once_key is not None:
        written = select(events.c.id).where(*mine, events.c.once_key == once_key)
        if connection.execute(written).first() is not None:
            return False
    values: dict[str, Any] = {
        "id": new_id("event"),
        "tenant": tenant,
        "job_id": job_id,
        "created_at": int(time.time()),
        "level": level,
        "message": message,
        "type": type,
        "data": data or {},
        "once_key": once_key,
    }
    connection.execute(events.insert().values(values))
    return True
