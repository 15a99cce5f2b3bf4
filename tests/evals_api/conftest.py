"""A server that does its runs, and one in front of it that has it as an upstream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tailor.server import EmbeddedServer

Finish = Callable[[Any], Any]


@pytest.fixture(scope="session")
def evals_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A real server with the embedded base, whose runs are done."""
    with EmbeddedServer(tmp_path_factory.mktemp("evals")) as started:
        yield started


@pytest.fixture(scope="session")
def client(evals_server: EmbeddedServer) -> Iterator[openai.OpenAI]:
    """The official client, strict: an answer that is not exactly of its type raises."""
    with openai.OpenAI(
        base_url=evals_server.base_url,
        api_key=evals_server.api_key,
        max_retries=0,
        _strict_response_validation=True,
    ) as made:
        yield made


@pytest.fixture(scope="session")
def lenient(evals_server: EmbeddedServer) -> Iterator[openai.OpenAI]:
    """The official client as people use it; its types know no formulas in evals."""
    with openai.OpenAI(base_url=evals_server.base_url, api_key=evals_server.api_key, max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def http(evals_server: EmbeddedServer) -> Iterator[httpx2.Client]:
    """Plain HTTP with the same key, relative to the server's root."""
    with plain(evals_server) as made:
        yield made


@pytest.fixture(scope="session")
def stranger(evals_server: EmbeddedServer) -> Iterator[httpx2.Client]:
    """Plain HTTP of another tenant."""
    _, secret = evals_server.instance.store.keys.create("strangers", "test")
    with plain(evals_server, secret) as made:
        yield made


@pytest.fixture(scope="session")
def finish(client: openai.OpenAI) -> Finish:
    """Waits for a run as notebooks do; the run as it ended."""

    def wait(run: Any) -> Any:
        return finished(client, run)

    return wait


def finished(client: openai.OpenAI, run: Any, *, seconds: float = 60) -> Any:
    until = time.monotonic() + seconds
    while True:
        run = client.evals.runs.retrieve(run.id, eval_id=run.eval_id)
        if run.status in ("completed", "failed"):
            return run
        assert time.monotonic() < until, run
        time.sleep(0.05)


def plain(server: EmbeddedServer, key: str | None = None) -> httpx2.Client:
    return httpx2.Client(
        base_url=server.base_url.removesuffix("/v1"),
        headers={"authorization": f"Bearer {key or server.api_key}"},
        trust_env=False,
        timeout=60,
    )


def upstreams_toml(server: EmbeddedServer, **more: Any) -> str:
    """A file of upstreams that names another server of ours `peer`, with the embedded base and prices."""
    lines = [f"{name} = {value}" for name, value in more.items()]
    return "\n".join(
        [
            "[peer]",
            f'base_url = "{server.base_url}"',
            'key_env = "PEER_KEY"',
            *lines,
            '[peer.models."tailor-mini-2"]',
            "input_price = 0.5",
            "output_price = 2.0",
        ]
    )


@pytest.fixture(scope="session")
def front(evals_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A second server that knows the first as the upstream `peer`."""
    home: Path = tmp_path_factory.mktemp("front")
    (home / "upstreams.toml").write_text(upstreams_toml(evals_server))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEER_KEY", evals_server.api_key)
        with EmbeddedServer(home) as started:
            yield started


@pytest.fixture(scope="session")
def front_client(front: EmbeddedServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=front.base_url, api_key=front.api_key, max_retries=0) as made:
        yield made
