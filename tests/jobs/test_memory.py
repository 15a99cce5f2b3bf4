"""Memory that runs out, and cancelling in the middle of a step."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailor.jobs import Supervisor
from tailor.jobs.memory import ending_of, num_oom_kills
from tailor.store import Job, JobSpec, Store
from tests.faults.scene import BASE, TENANT, add_job, quick_workers, training_rows
from tests.jobs.conftest import At, Work, log_of, work_once

ROOM = 4096
"""The recipe's micro-batch."""


def run_out() -> None:
    raise MemoryError


def test_a_job_that_runs_out_of_memory_goes_on_with_half_at_a_time(
    store: Store, small_job: Job, work: Work, at: At
) -> None:
    at("after_step:2", run_out)

    job = work(small_job)

    assert job.status == "succeeded", job.error
    assert job.max_microbatch_tokens == ROOM // 2
    assert (
        f"Memory ran out; the job goes on from its last checkpoint with {ROOM // 2} tokens at a time instead "
        f"of {ROOM}" in log_of(store, job)
    )


def test_a_job_that_fits_in_no_way_fails_with_a_remedy(
    store: Store, small_job: Job, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms: list[int] = []

    def no_memory(self: Any, *_: object, max_microbatch_tokens: int, **__: object) -> None:
        rooms.append(max_microbatch_tokens)
        raise MemoryError

    monkeypatch.setattr("tailor.training.Learner.forward_backward", no_memory)
    job = small_job
    while not job.is_terminal:
        job = work(job)

    assert rooms == [4096, 2048, 1024, 512, 256, 128, 64]
    assert job.status == "failed"
    assert job.error is not None and job.error["code"] == "out_of_memory"
    assert "even with 64 tokens at a time" in job.error["message"]
    assert "tailor.max_context_tokens" in job.error["message"]


def test_a_worker_that_the_kernel_killed_for_memory_is_followed_by_a_smaller_one(
    store: Store, small_job: Job, work: Work, at: At
) -> None:
    die_in_training(store, small_job, at)

    (job,) = store.queue.reap(lambda owner: "out_of_memory")

    assert (job.status, job.max_microbatch_tokens, job.attempts) == ("queued", ROOM // 2, 1)
    assert f"with {ROOM // 2} tokens at a time instead of {ROOM}" in log_of(store, job)[-1]
    assert work(job).status == "succeeded"


def test_a_worker_killed_by_anybody_once_is_followed_by_its_equal(
    store: Store, small_job: Job, at: At
) -> None:
    die_in_training(store, small_job, at)

    (job,) = store.queue.reap(lambda owner: "killed")

    assert (job.status, job.max_microbatch_tokens, job.attempts) == ("queued", ROOM, 1)


def test_what_was_made_smaller_stays_so_when_the_job_goes_on(
    store: Store, small_job: Job, work: Work, at: At
) -> None:
    die_in_training(store, small_job, at)
    store.queue.reap(lambda owner: "out_of_memory")
    at("after_step:2", run_out)

    assert work(small_job).max_microbatch_tokens == ROOM // 4


def test_real_workers_killed_twice_at_one_step_are_followed_by_a_smaller_one(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILOR_FAULT", "after_step:2")
    with Supervisor(store, quick_workers()) as supervisor:
        job = add_job(store, rows=training_rows(28), epochs=2, hold_out=0)
        supervisor.wake()
        wait(store, job, lambda now: now.max_microbatch_tokens == ROOM // 2)
        monkeypatch.delenv("TAILOR_FAULT")
        job = wait(store, job, lambda now: now.is_terminal)

    assert job.status == "succeeded", job.error
    assert sum("The worker stopped unexpectedly" in line for line in log_of(store, job)) >= 1
    assert any(
        "The worker was killed, as happens when memory runs out" in line for line in log_of(store, job)
    )


def test_the_kernel_says_whether_it_killed_for_memory(tmp_path: Path) -> None:
    statistics = tmp_path / "vmstat"
    statistics.write_text("nr_free_pages 12\noom_kill 3\nzone_reclaim 0\n")

    assert num_oom_kills(statistics) == 3
    assert num_oom_kills(tmp_path / "none") == 0
    assert ending_of(-signal.SIGKILL, oom_kills=1) == "out_of_memory"
    assert ending_of(-signal.SIGKILL, oom_kills=0) == "killed"
    assert ending_of(-signal.SIGSEGV, oom_kills=1) == "crashed"
    assert ending_of(1, oom_kills=1) == "crashed"


def test_a_cancelled_job_stops_before_the_next_micro_batch(
    store: Store, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of 48 examples, each a micro-batch of its own; the job is cancelled in the third."""
    from tailor.training import learner, objective
    from tailor.training.output import supervised_losses

    file = store.files.add(TENANT, data=training_rows(48), filename="a", purpose="fine-tune")
    spec = JobSpec(
        requested_model=BASE,
        base=BASE,
        training_file=file.id,
        hyperparameters={"n_epochs": 1, "batch_size": 48},
        options={"adapter": {"rank": 4}, "hold_out": 0},
    )
    small = store.jobs.add(TENANT, spec)
    compute, num_computed = supervised_losses, 0

    def cancel_in_the_third(*arguments: Any) -> Any:
        nonlocal num_computed
        num_computed += 1
        if num_computed == 3:
            store.jobs.cancel(TENANT, small.id)
            time.sleep(1.5)  # the pulse listens twice a second
        return compute(*arguments)

    monkeypatch.setattr(objective, "supervised_losses", cancel_in_the_third)
    monkeypatch.setattr(
        learner, "microbatches_of", lambda shard, room, share: [[example] for example in shard]
    )
    job = work(small)

    assert job.status == "cancelled"
    # Where shards are computed side by side, each may end the micro-batch that it is in.
    assert num_computed <= 5


def die_in_training(store: Store, job: Job, at: At) -> None:
    """Let a worker begin to train and vanish, its job still held."""

    class Death(BaseException):
        pass

    def die() -> None:
        raise Death

    work_once(store, job)
    at("after_step:2", die)
    with pytest.raises(Death):
        work_once(store, store.jobs.get(TENANT, job.id))


def wait(store: Store, job: Job, until: Callable[[Job], bool]) -> Job:
    deadline = time.monotonic() + 120
    while not until(now := store.jobs.get(TENANT, job.id)):
        assert time.monotonic() < deadline and now.status != "failed", now
        time.sleep(0.05)
    return now
