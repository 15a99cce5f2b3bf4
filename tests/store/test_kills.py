"""Processes are killed at random moments: what they were told is kept, and nothing is done twice.

TAILOR_KILLS sets how many random kills there are (30; some minutes for 2,000).
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tailor.protocol.ids import random_name
from tailor.store import Job, JobSpec, Lease, LeaseLost, Store, Version

MakeVersion = Callable[..., Version]
SEED = 20261120


def run_jobs(
    store: Store, tell: Callable[[str], None], make_version: MakeVersion, name: str, rounds: int
) -> None:
    """Submit, validate, train and publish, telling of each thing only once the store has taken it."""
    for number in range(rounds) if rounds else count():
        if rounds == 0:
            file = store.files.add("default", data=b"{}\n", filename="a", purpose="fine-tune")
            spec = JobSpec(requested_model="gpt-4o-mini", base="tiny", training_file=file.id)
            tell(f"added {store.jobs.add('default', spec, idempotency_key=f'{name}-{number}').id}")
        validating = store.queue.claim("validate", name)
        if validating is not None:
            validating.validated()
        training = store.queue.claim("train", name)
        if training is not None:
            train(training, store, tell, make_version)
        elif rounds:
            return


def train(lease: Lease, store: Store, tell: Callable[[str], None], make_version: MakeVersion) -> None:
    first = lease.job.saved_step + 1
    for step in range(first, first + 3):
        lease.add_metrics(step=step, data={"step": step}, message=f"Step {step}")
        lease.add_save(step=step, directory=f"step-{step:08d}.{lease.token}")
    version = make_version(lease, f"ft:tiny:org::{random_name(8)}")
    results = store.files.add(
        "default", data=b"csv", filename="r.csv", purpose="fine-tune-results", once_key=lease.job_id
    )
    lease.publish(version, result_files=(results.id,), trained_tokens=3)
    tell(f"done {lease.job_id}")


def killed_run(home: Path, attempt: int, moments: random.Random, make_version: MakeVersion) -> list[str]:
    """Let a process work and kill it a while after it has told of something; what it told."""
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(heard)
        try:
            store = Store.open(home, floor_bytes=0)
            store.queue.reap()
            run_jobs(
                store, lambda line: void(os.write(tell, f"{line}\n".encode())), make_version, f"{attempt}", 0
            )
        finally:
            os._exit(1)
    os.close(tell)
    told = b""
    for _ in range(moments.randint(1, 3)):
        told += os.read(heard, 65536)
    time.sleep(moments.uniform(0.0, 0.06))
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    while chunk := os.read(heard, 65536):
        told += chunk
    os.close(heard)
    return told.decode().split("\n")[:-1]


def void(_value: object) -> None:
    """Forget a result."""


def all_jobs(store: Store) -> dict[str, Job]:
    found: dict[str, Job] = {}
    after = None
    while (page := store.jobs.list("default", after=after, limit=1000)).items:
        found |= {job.id: job for job in page.items}
        after = page.items[-1].id
    return found


def test_random_kills_lose_nothing_and_repeat_nothing(tmp_path: Path, make_version: MakeVersion) -> None:
    kills = int(os.environ.get("TAILOR_KILLS", "30"))
    home, moments = tmp_path / "home", random.Random(SEED)
    Store.open(home).close()
    told = [line for attempt in range(kills) for line in killed_run(home, attempt, moments, make_version)]
    added = {line.removeprefix("added ") for line in told if line.startswith("added ")}
    done = {line.removeprefix("done ") for line in told if line.startswith("done ")}
    assert len(added) >= kills and done

    with sqlite3.connect(home / "tailor.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    store = Store.open(home, floor_bytes=0)
    store.queue.reap()
    before = all_jobs(store)
    assert added <= set(before), "a job was acknowledged and lost"
    assert all(before[job_id].status == "succeeded" for job_id in done), "a result was acknowledged and lost"

    run_jobs(store, void, make_version, "last", 10_000)
    finished = all_jobs(store).values()
    finals = [version.job_id for version in store.versions.list("default")]
    succeeded = [job.id for job in finished if job.status == "succeeded"]
    assert sorted(finals) == sorted(succeeded), "one model for each job that succeeded"
    for job in finished:
        assert job.status == "succeeded" or (job.error or {})["code"] == "worker_crashed"
        events = store.jobs.events("default", job.id, limit=1000).items
        kinds = [event.message for event in events if not event.message.startswith("The worker stopped")]
        assert len(kinds) == len(set(kinds)), "an event was logged twice"
    assert list((home / "blobs").glob(".part-*")) == []


@pytest.mark.parametrize(
    ("point", "status"),
    [
        ("before_publish", "queued"),
        ("before_publish_commit", "queued"),
        ("after_publish_commit", "succeeded"),
    ],
)
def test_killed_while_publishing_there_is_one_model_or_none(
    store: Store, train_lease: Callable[[Store], Lease], make_version: MakeVersion, point: str, status: str
) -> None:
    train_lease(store).release()
    child = os.fork()
    if child == 0:
        os.environ["TAILOR_FAULT"] = point
        own = Store.open(store.home, floor_bytes=0)
        lease = own.queue.claim("train", "child")
        if lease is not None:
            lease.publish(make_version(lease), result_files=(), trained_tokens=1)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    store.queue.reap()
    (job,) = store.jobs.list("default").items
    assert job.status == status
    assert len(store.versions.list("default")) == (1 if status == "succeeded" else 0)
    if status == "queued":
        again = store.queue.claim("train", "next")
        assert again is not None
        again.publish(make_version(again), result_files=(), trained_tokens=1)
    (version,) = store.versions.list("default")
    assert store.jobs.get("default", job.id).fine_tuned_model == version.id


def test_a_stopped_process_that_wakes_up_later_writes_nothing(
    store: Store, train_lease: Callable[[Store], Lease]
) -> None:
    train_lease(store).release()
    heard, tell = os.pipe()
    child = os.fork()
    if child == 0:
        lease = Store.open(store.home, floor_bytes=0).queue.claim("train", "zombie")
        os.write(tell, b"claimed\n")
        os.kill(os.getpid(), signal.SIGSTOP)
        try:
            if lease is not None:
                lease.add_event("zombie")
        except LeaseLost:
            os._exit(75)
        os._exit(1)
    assert os.read(heard, 8) == b"claimed\n"
    os.waitpid(child, os.WUNTRACED)
    (held,) = store.queue.held()
    assert store.queue.reap() == (), "its lock is still held, so only silence can tell"
    store.jobs.cancel("default", held.id)
    os.kill(child, signal.SIGCONT)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 75
    assert "zombie" not in [event.message for event in store.jobs.events("default", held.id).items]
