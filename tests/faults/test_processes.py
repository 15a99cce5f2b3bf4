"""Real workers under a real supervisor, and what becomes of a job when either of them is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tailor.jobs import Supervisor
from tailor.jobs.shutdown import Shutdown
from tailor.jobs.worker import Worker
from tailor.store import Job, Store
from tests.faults.scene import (
    TENANT,
    Remains,
    add_base,
    add_job,
    leftovers,
    open_store,
    quick_workers,
    remains_of,
    training_rows,
)
from tests.models.tiny import tiny_directory

PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("bases") / "tiny", vocab_size=8192)


@pytest.fixture
def store(base: Path) -> Iterator[Store]:
    with a_store(base) as opened:
        yield opened


@contextmanager
def a_store(base: Path) -> Iterator[Store]:
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="tailor-processes-", dir=parent) as directory:
        opened = open_store(Path(directory) / "home")
        add_base(opened, base)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def undisturbed(base: Path) -> Iterator[Remains]:
    """The same job, done in this process by workers that nobody kills."""
    with a_store(base) as store:
        job = add_job(store)
        for phase in ("validate", "train"):
            settings = quick_workers()
            Worker(store=store, settings=settings, shutdown=Shutdown(), phase=phase).run()
        yield remains_of(store, job.id)


def is_as_undisturbed(store: Store, job: Job, undisturbed: Remains) -> bool:
    remains = remains_of(store, job.id)
    store.sweep()
    return (
        dict(remains.weights)[str(remains.model)] == dict(undisturbed.weights)[str(undisturbed.model)]
        and remains.metrics == undisturbed.metrics
        and remains.csv == undisturbed.csv
        and leftovers(store.home) == []
    )


def wait(store: Store, job: Job, until: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until(now := store.jobs.get(TENANT, job.id)):
        assert time.monotonic() < deadline, now
        time.sleep(0.01)
    return now


def is_over(job: Job) -> bool:
    return job.is_terminal


def at_step(step: int) -> Callable[[Job], bool]:
    return lambda job: job.status == "running" and job.step >= step


def worker_of(job: Job) -> int:
    assert job.owner is not None
    return int(job.owner.partition(":")[0])


def start_host(store: Store) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.faults.host", str(store.home)])


def recoveries(store: Store, job: Job) -> int:
    events = store.jobs.events(TENANT, job.id, limit=1000).items
    return sum(event.message.startswith("The worker stopped unexpectedly") for event in events)


def test_a_killed_worker_is_replaced_and_the_weights_are_the_same(store: Store, undisturbed: Remains) -> None:
    with Supervisor(store, quick_workers()) as supervisor:
        job = add_job(store)
        supervisor.wake()
        os.kill(worker_of(wait(store, job, at_step(17))), signal.SIGKILL)
        job = wait(store, job, is_over)

    assert job.status == "succeeded"
    assert recoveries(store, job) == 1
    assert is_as_undisturbed(store, job, undisturbed)


def test_server_and_worker_killed_together_cost_nothing_but_time(store: Store, undisturbed: Remains) -> None:
    host = start_host(store)
    job = add_job(store)
    running = wait(store, job, at_step(25))
    host.kill()
    os.kill(worker_of(running), signal.SIGKILL)
    host.wait()

    with Supervisor(store, quick_workers()):
        job = wait(store, job, is_over)

    assert job.status == "succeeded"
    assert is_as_undisturbed(store, job, undisturbed)


@pytest.mark.slow
def test_a_worker_outlives_its_server_and_the_next_one_finds_it(store: Store, undisturbed: Remains) -> None:
    host = start_host(store)
    job = add_job(store)
    worker = worker_of(wait(store, job, at_step(3)))
    host.kill()
    host.wait()

    with Supervisor(store, quick_workers()):
        wait(store, job, lambda now: now.phase == "evaluating" or now.is_terminal)
        held = [worker_of(each) for each in store.queue.held()]
        job = wait(store, job, is_over)

    assert held in ([worker], [])
    assert job.status == "succeeded"
    assert recoveries(store, job) == 0
    assert is_as_undisturbed(store, job, undisturbed)


@pytest.mark.slow
def test_a_stopped_server_saves_its_jobs_and_the_next_one_goes_on(store: Store, undisturbed: Remains) -> None:
    with Supervisor(store, quick_workers()):
        job = add_job(store)
        wait(store, job, at_step(12))
    waiting = store.jobs.get(TENANT, job.id)
    assert (waiting.status, waiting.attempts, waiting.owner) == ("queued", 0, None)
    assert waiting.saved_step >= 12

    with Supervisor(store, quick_workers()):
        job = wait(store, job, is_over)

    assert recoveries(store, job) == 0
    assert is_as_undisturbed(store, job, undisturbed)


@pytest.mark.slow
def test_a_hung_worker_is_told_to_say_where_and_is_replaced(
    store: Store, undisturbed: Remains, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailor.store.reaper.SILENCE_SECONDS", 8.0)
    monkeypatch.setattr("tailor.jobs.supervisor.ABORT_GRACE_SECONDS", 1.0)
    with Supervisor(store, quick_workers()):
        job = add_job(store)
        worker = worker_of(wait(store, job, at_step(12)))
        os.kill(worker, signal.SIGSTOP)
        job = wait(store, job, is_over)
        time.sleep(3.0)
        assert not Path(f"/proc/{worker}").exists()

    assert job.status == "succeeded"
    assert is_as_undisturbed(store, job, undisturbed)


@pytest.mark.slow
def test_jobs_take_turns_and_bad_files_do_not_wait_for_them(store: Store) -> None:
    with Supervisor(store, quick_workers()) as supervisor:
        first, second = add_job(store), add_job(store)
        bad = add_job(store, rows=training_rows(2))
        supervisor.wake()
        running = 0
        while not store.jobs.get(TENANT, second.id).is_terminal:
            running = max(running, sum(job.status == "running" for job in store.queue.held()))
            if store.jobs.get(TENANT, first.id).status == "running":
                assert store.jobs.get(TENANT, bad.id).status == "failed"
            time.sleep(0.05)

    assert running == 1
    assert {store.jobs.get(TENANT, job.id).status for job in (first, second)} == {"succeeded"}


def test_a_spare_worker_takes_the_job_and_another_takes_its_place(store: Store) -> None:
    with Supervisor(store, replace(quick_workers(), num_spare=1)) as supervisor:
        spare = spare_of(supervisor)
        job = add_job(store)
        supervisor.wake()
        running = wait(store, job, at_step(5))
        job = wait(store, job, is_over)
        next_spare = spare_of(supervisor, other_than=spare)

    assert running.owner == spare
    assert job.status == "succeeded"
    assert next_spare != spare


def spare_of(supervisor: Supervisor, other_than: str = "") -> str:
    """The name of the worker that waits for a job to train."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        names = [worker.id for worker in supervisor._workers if worker.phase == "train"]
        if names and names[-1] != other_than:
            return names[-1]
        time.sleep(0.05)
    raise AssertionError("no worker waits")
