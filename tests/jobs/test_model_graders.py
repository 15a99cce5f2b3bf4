"""Graders that ask a model, inside a job: asked through the server, once, whatever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailor.errors import RateLimited, Unavailable
from tailor.jobs.shutdown import Shutdown
from tailor.protocol import ChatRequest
from tailor.server import EmbeddedServer
from tailor.server.answering import Answering
from tailor.store import Job, Store
from tests.faults.scene import TENANT, add_base, leftovers, remains_of
from tests.jobs.conftest import log_of, rest, work_once
from tests.jobs.test_reinforcement_job import LIKENESS, _untimed, add_job, metrics_of

JUDGE = {
    "type": "score_model",
    "name": "judge",
    "model": "tailor-mini-2",
    "input": [{"role": "user", "content": "Rate from 0 to 1: {{ sample.output_text }}"}],
    "range": [0, 5],
    "sampling_params": {"temperature": 1, "max_completions_tokens": 8},
}
BOTH = {"type": "multi", "graders": {"l": LIKENESS, "j": JUDGE}, "calculate_output": "l + 0.01 * j"}
KILLED = (
    "import sys; from pathlib import Path; from tailor.jobs.worker import main; "
    "sys.exit(main(['--home', sys.argv[1], '--phase', 'train', '--threads', '1', '--idle-seconds', '0']))"
)


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """A server that only queues jobs: the test works on them."""
    with EmbeddedServer(tmp_path_factory.mktemp("home"), run_jobs=False) as started:
        add_base(started.instance.store, tiny_base)
        yield started


@pytest.fixture(scope="module")
def tenant_store(server: EmbeddedServer) -> Store:
    return server.instance.store


@pytest.fixture(scope="module")
def asked(server: EmbeddedServer) -> Iterator[list[str]]:
    """What the server was asked, in order."""
    found: list[str] = []
    begin = Answering.begin

    async def noted(answering: Answering, tenant: str, request: ChatRequest) -> Any:
        found.append(str(request.messages[-1].content))
        return await begin(answering, tenant, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answering, "begin", noted)
        yield found


@pytest.fixture(scope="module")
def done(tenant_store: Store, asked: list[str]) -> Job:
    return rest(tenant_store, add_job(tenant_store, grader=BOTH))


def test_a_job_is_graded_by_a_model_of_the_server(done: Job, tenant_store: Store, asked: list[str]) -> None:
    assert done.status == "succeeded", done.error
    rows = metrics_of(tenant_store, done)
    assert len(rows) == 8
    assert {each["name"] for each in rows[0]["scores"]["graders"]} == {"l", "j"}
    assert rows[0]["model_graders_token_usage"]["tailor-mini-2"]["completion_tokens"] > 0
    assert len(asked) == len(set(asked)), "the same question is asked once"
    assert leftovers(tenant_store.home) == []


def test_the_key_of_a_job_ends_with_it(done: Job, tenant_store: Store) -> None:
    keys = [key for key in tenant_store.keys.list(TENANT) if key.name == done.id]
    assert keys
    assert all(key.revoked_at is not None for key in keys)


def test_a_killed_job_asks_nothing_again_and_ends_with_the_same_bytes(
    done: Job, tenant_store: Store, asked: list[str]
) -> None:
    job = add_job(tenant_store, grader=BOTH | {"graders": {"l": LIKENESS, "j": JUDGE | {"name": "again"}}})
    before = len(asked)
    work_once(tenant_store, job)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(tenant_store.home)],
        env=os.environ | {"TAILOR_FAULT": "after_step:5", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert tenant_store.queue.reap(lambda owner: "killed")

    again = rest(tenant_store, tenant_store.jobs.get(TENANT, job.id))

    assert again.status == "succeeded", again.error
    assert len(asked[before:]) == len(set(asked[before:])), "what was answered before the death is remembered"
    live = [key for key in tenant_store.keys.list(TENANT) if key.name == job.id and key.revoked_at is None]
    assert live == []
    rows = [_untimed(row) for row in metrics_of(tenant_store, again)]
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert remains_of(tenant_store, again.id).status == "succeeded"


def test_who_is_busy_is_asked_again(tenant_store: Store, done: Job) -> None:
    begin, refusals = Answering.begin, [RateLimited, Unavailable, RateLimited]

    async def busy(answering: Answering, tenant: str, request: ChatRequest) -> Any:
        if refusals:
            raise refusals.pop()("Too much at once.", retry_after_seconds=0.05)
        return await begin(answering, tenant, request)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Answering, "begin", busy)
        job = rest(tenant_store, add_job(tenant_store, grader=BOTH, max_steps=1, hold_out=0))
    assert job.status == "succeeded", job.error
    assert refusals == []
    graders = {each["name"]: each for each in metrics_of(tenant_store, job)[0]["errors"]["graders"]}
    assert graders["j"]["train_model_grader_server_error_count"] == 0


def test_a_model_that_is_gone_pauses_the_job(tenant_store: Store, done: Job) -> None:
    gone = JUDGE | {"model": "ft:tiny:local::AAAAAAAA"}
    job = rest(tenant_store, add_job(tenant_store, grader=gone))
    assert (job.status, job.pause_reason) == ("paused", "model_unavailable")
    assert "ft:tiny:local::AAAAAAAA cannot be asked" in log_of(tenant_store, job)[-1]
    tenant_store.jobs.cancel(TENANT, job.id)


def test_without_a_server_a_job_waits_and_can_be_stopped(tiny_base: Path, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "home", floor_bytes=0)
    add_base(store, tiny_base)
    job = add_job(store, grader=JUDGE)
    work_once(store, job)
    shutdown = Shutdown()

    def ask_to_stop() -> None:
        while "Waiting for the server" not in log_of(store, job)[-1]:
            time.sleep(0.05)
        shutdown.ask()

    stopper = threading.Thread(target=ask_to_stop)
    stopper.start()
    work_once(store, store.jobs.get(TENANT, job.id), shutdown=shutdown)
    stopper.join()
    assert store.jobs.get(TENANT, job.id).status == "queued"
    store.close()
