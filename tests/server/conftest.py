"""Callers of the shared server: another tenant, and a tuned model of each."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types import FileObject

from tailor.server import EmbeddedServer
from tailor.store import Job, Store
from tests.server.making import finish_job, rows


@pytest.fixture(scope="session")
def store(server: EmbeddedServer) -> Store:
    """The server's own store, to look behind the API and to stand in for workers."""
    return server.instance.store


@pytest.fixture(scope="session")
def stranger(server: EmbeddedServer, store: Store) -> Iterator[openai.OpenAI]:
    """A caller of another tenant."""
    _, secret = store.keys.create("strangers", "test")
    with openai.OpenAI(base_url=server.base_url, api_key=secret, max_retries=0) as made:
        yield made


@pytest.fixture(scope="session")
def tuned(store: Store, client: openai.OpenAI) -> Job:
    """A finished job of the client's tenant."""
    return finish_job(store, "default", suffix="mails")


@pytest.fixture(scope="session")
def training_file(client: openai.OpenAI) -> FileObject:
    return client.files.create(file=("train.jsonl", rows()), purpose="fine-tune")
