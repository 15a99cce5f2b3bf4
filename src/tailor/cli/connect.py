"""The server that a command talks to: the one the environment names, a running one, or one of our own."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tailor.cli.options import home_of

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.client import Address, Endpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Connection:
    """An endpoint, and whose server it is."""

    endpoint: Endpoint
    place: Literal["named", "running", "embedded"]
    """Named by the environment; already running on the home; or started by this command, ending with it."""

    options: str = ""
    """What a further command needs to reach the same server: ` --home DIR`, or nothing."""


@contextmanager
def connect(view: View, home: Path | None) -> Iterator[Connection]:
    """A connection for one command.

    Without `--home`, `TAILOR_BASE_URL` and `OPENAI_BASE_URL` come first. Then a server that already runs
    on the home; then one started here, in this process, on this machine only.
    """
    from tailor.client import Endpoint, find

    address = find(os.environ) if home is None else None
    if address is not None:
        with _closing(Endpoint(address.base_url, address.api_key)) as endpoint:
            yield Connection(endpoint=endpoint, place="named")
        return
    place = home_of(home)
    options = f" --home {shlex.quote(str(home))}" if home is not None else ""
    running = _running(place)
    if running is not None:
        with _closing(Endpoint(running.base_url, running.api_key)) as endpoint:
            yield Connection(endpoint=endpoint, place="running", options=options)
        return
    from tailor.server import EmbeddedServer  # heavy: brings torch

    started = time.monotonic()
    with EmbeddedServer(home=place) as server:
        view.note(f"Started a server for this command in {time.monotonic() - started:.1f} s; data in {place}")
        with _closing(Endpoint(server.base_url, server.api_key)) as endpoint:
            yield Connection(endpoint=endpoint, place="embedded", options=options)


def _running(home: Path) -> Address | None:
    """The server that runs on this home, with the key that only the home's owner can read."""
    from tailor.client import Address
    from tailor.store import Store, read_server

    base_url = read_server(home)
    if base_url is None:
        return None
    store = Store.open(home)
    try:
        api_key = store.keys.ensure_local(home / "local.key")
    finally:
        store.close()
    return Address(base_url=base_url, api_key=api_key, variable="")


@contextmanager
def _closing(endpoint: Endpoint) -> Iterator[Endpoint]:
    try:
        yield endpoint
    finally:
        endpoint.close()
