"""What all tests share: one real server on a home of its own, with the embedded base and no workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx2
    import openai

    from tailor.server import EmbeddedServer


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow programmes out unless a marker is asked for."""
    if config.getoption("-m"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A real server on a free port. Jobs are queued, and nobody works on them."""
    from tailor.server import EmbeddedServer

    home: Path = tmp_path_factory.mktemp("home")
    with EmbeddedServer(home, run_jobs=False) as started:
        yield started


@pytest.fixture(scope="session")
def client(server: EmbeddedServer) -> Iterator[openai.OpenAI]:
    """The official client, strict: an answer that is not exactly of its type raises."""
    import openai

    with openai.OpenAI(
        base_url=server.base_url, api_key=server.api_key, max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture(scope="session")
def http(server: EmbeddedServer) -> Iterator[httpx2.Client]:
    """Plain HTTP with the same key, relative to the server's root."""
    import httpx2

    with httpx2.Client(
        base_url=server.base_url.removesuffix("/v1"),
        headers={"authorization": f"Bearer {server.api_key}"},
        trust_env=False,
        timeout=60,
    ) as made:
        yield made
