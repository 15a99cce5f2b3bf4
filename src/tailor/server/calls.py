"""What a route is handed: who calls, with which permission, and the rooms it may use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from tailor.sandbox import SharedSandbox
from tailor.server.answering import Answering
from tailor.server.asking import Asking
from tailor.server.config import ServerConfig
from tailor.server.embedding import Embedding
from tailor.server.layers import PUBLIC_PATHS, Caller, Traffic, caller_of
from tailor.store import Store

Right = Literal["read", "write", "public"]


class Supervision(Protocol):
    """Who sees to it that work is done: fine-tuning jobs, or runs of evals."""

    def wake(self) -> None:
        """Look for work now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """The rooms below, as one value."""

    config: ServerConfig
    store: Store
    answering: Answering
    supervisor: Supervision | None
    """None: jobs are only queued."""
    traffic: Traffic
    asking: Asking
    """Ours and upstream models alike."""
    embedding: Embedding
    runner: Supervision | None = None
    """None: runs of evals are only queued."""
    sandbox: SharedSandbox = field(default_factory=SharedSandbox)
    """Where python graders run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One request by a known caller."""

    tenant: str
    """First argument of everything asked of the store (reliability R4)."""
    request: Request
    services: Services

    @property
    def store(self) -> Store:
        """The store."""
        return self.services.store

    def wake_supervisor(self) -> None:
        """Tell the supervisor that there is something to do."""
        if self.services.supervisor is not None:
            self.services.supervisor.wake()

    def wake_runner(self) -> None:
        """Tell whoever does runs of evals that there is one."""
        if self.services.runner is not None:
            self.services.runner.wake()

    @property
    def is_retry(self) -> bool:
        """Whether the official client says that it sends this again (contract section 4)."""
        count = self.request.headers.get("x-stainless-retry-count", "0")
        return count.isdigit() and count.strip("0") != ""


@dataclass(frozen=True, slots=True)
class Permission:
    """Declares what a route needs, and hands it its call: a route without one cannot reach the store."""

    right: Right

    def __call__(self, request: Request) -> Call:
        """The call of a request; only public routes have none behind the authentication layer."""
        caller = caller_of(request.scope) if self.right != "public" else Caller(tenant="", key_id="")
        return Call(tenant=caller.tenant, request=request, services=request.app.state.services)


Reading = Annotated[Call, Depends(Permission("read"))]
Writing = Annotated[Call, Depends(Permission("write"))]
Public = Annotated[Call, Depends(Permission("public"))]


def right_of(route: APIRoute) -> Right | None:
    """The permission that a route declares."""
    declared = (dependency.call for dependency in route.dependant.dependencies)
    return next((call.right for call in declared if isinstance(call, Permission)), None)


def check_permissions(routes: Sequence[BaseRoute]) -> None:
    """Refuse to start unless every route declares its permission, and "public" means the public paths."""
    for route in routes:
        right = right_of(route) if isinstance(route, APIRoute) else None
        if right is None:
            raise RuntimeError(f"{route} declares no permission: give it a Reading, Writing or Public call.")
        if isinstance(route, APIRoute) and (right == "public") != (route.path in PUBLIC_PATHS):
            raise RuntimeError(f"{route.path} is public in one place and not in the other.")
