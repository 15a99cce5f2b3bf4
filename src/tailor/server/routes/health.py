"""Whether the server lives, and whether it can work; the only routes that need no key."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from tailor.errors import Unavailable
from tailor.server.calls import Public
from tailor.server.requests import new_router

router = new_router("health")

_RETRY_SECONDS = 2.0


class Health(BaseModel):
    """The answer when all is well."""

    status: Literal["ok"] = "ok"


@router.get("/healthz")
async def healthz(call: Public) -> Health:
    """The process answers; asks nothing else."""
    return Health()


@router.get("/readyz")
def readyz(call: Public) -> Health:
    """Database, disk and engine can take work; 503 with the reason otherwise."""
    services = call.services
    if services.traffic.draining:
        raise Unavailable(
            "The server is stopping.", code="server_stopping", retry_after_seconds=_RETRY_SECONDS
        )
    services.store.ping()
    services.store.require_room()
    services.answering.engine.check_ready()
    return Health()
