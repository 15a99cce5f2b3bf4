"""Lets nobody in without a key: decided on the URL alone, before a byte of the body is read (R3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from tailor.errors import Unauthenticated
from tailor.store import Store

PUBLIC_PATHS = frozenset({"/healthz", "/readyz"})
"""What needs no key; every other path does, also one that does not exist."""

CALLER = "tailor.caller"
"""Where a request's scope says who is asking, once that is known."""

_MAX_SECRET_CHARACTERS = 256
_REPORT = re.compile(r"/v1/evals/eval_[A-Za-z0-9]{24}/runs/(evalrun_[A-Za-z0-9]{24})/report")
_TOKEN = re.compile(rb"token=([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, kw_only=True, slots=True)
class Caller:
    """Who is asking."""

    tenant: str
    """Whose files, jobs and models these are."""

    key_id: str
    """The key that was used; empty for a report's own address."""


class Authentication:
    """Bearer keys; nothing else, never a cookie."""

    def __init__(self, app: ASGIApp, *, store: Store) -> None:
        self.app = app
        self.store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request through."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC_PATHS:
            scope[CALLER] = await self._reader(scope) or await self._caller(scope)
        await self.app(scope, receive, send)

    async def _reader(self, scope: Scope) -> Caller | None:
        """Whoever has the address of a report may read that report: a browser cannot send a key."""
        report = _REPORT.fullmatch(scope["path"])
        token = _TOKEN.fullmatch(scope["query_string"])
        if scope["method"] != "GET" or report is None or token is None:
            return None
        tenant = await run_in_threadpool(self.store.eval_runs.reader, report[1], token[1].decode("ascii"))
        return None if tenant is None else Caller(tenant=tenant, key_id="")

    async def _caller(self, scope: Scope) -> Caller:
        secret = _bearer([value for name, value in scope["headers"] if name == b"authorization"])
        key = await run_in_threadpool(self.store.keys.verify, secret)
        if key is None:
            raise Unauthenticated(
                "Incorrect API key provided.", remedy="Make one on the server: tailor keys create."
            )
        return Caller(tenant=key.tenant, key_id=key.id)


def caller_of(scope: Scope) -> Caller:
    """The caller that the authentication layer found."""
    return cast(Caller, scope[CALLER])


def _bearer(values: list[bytes]) -> str:
    if len(values) != 1:
        raise Unauthenticated(
            "You did not provide an API key.", remedy="Send one header 'Authorization: Bearer KEY'."
        )
    scheme, _, secret = values[0].decode("latin-1").partition(" ")
    secret = secret.strip()
    if scheme.lower() != "bearer" or not secret.isascii() or len(secret) > _MAX_SECRET_CHARACTERS:
        raise Unauthenticated(
            "The Authorization header does not carry an API key.",
            remedy="Send one header 'Authorization: Bearer KEY'.",
        )
    return secret
