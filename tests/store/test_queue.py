"""Claims, leases, fencing and the reaper, on both databases."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailor.errors import InvalidRequest
from tailor.store import Corrupt, Ending, Job, Lease, LeaseLost, Reaper, Store, Version

AddJob = Callable[..., Job]
MakeVersion = Callable[..., Version]
TrainLease = Callable[[Store], Lease]


class Clock:
    """A monotonic clock that a test turns by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def reaper_of(store: Store, clock: Clock) -> Reaper:
    return Reaper(database=store._database, home=store.home, clock=clock)


def messages(store: Store, job_id: str) -> list[str]:
    """The log, oldest first."""
    return [event.message for event in reversed(store.jobs.events("default", job_id, limit=100).items)]


def test_a_job_goes_through_every_status_in_order(
    any_store: Store, add_job: AddJob, make_version: MakeVersion
) -> None:
    job = add_job(any_store)
    assert (job.status, job.phase) == ("validating_files", "validating")
    assert any_store.queue.claim("train", "w") is None

    lease = any_store.queue.claim("validate", "w")
    assert lease is not None
    assert lease.open_training().read() == b"{}\n"
    assert lease.validated().status == "queued"

    lease = any_store.queue.claim("train", "w")
    assert lease is not None
    running = lease.job
    assert (running.status, running.phase, running.owner) == ("running", "preparing", "w")
    assert running.started_at is not None
    lease.add_event("Fine-tuning job started", once_key="started")
    assert lease.heartbeat(step=3, total_steps=3, phase="training", estimated_finish=99) == "run"
    version = make_version(lease)
    done = lease.publish(version, result_files=("file-abc",), trained_tokens=42)

    assert (done.status, done.fine_tuned_model, done.trained_tokens) == ("succeeded", version.id, 42)
    assert done.result_files == ("file-abc",)
    assert done.finished_at is not None
    assert (done.owner, done.estimated_finish) == (None, None)
    assert any_store.versions.get("default", version.id).digest == version.digest
    assert messages(any_store, job.id) == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
        f"New fine-tuned model created: {version.id}",
        "The job has successfully completed",
    ]


def test_jobs_are_claimed_oldest_first_and_each_by_one_worker_only(any_store: Store, add_job: AddJob) -> None:
    created = [add_job(any_store).id for _ in range(12)]
    first = any_store.queue.claim("validate", "first")
    assert first is not None and first.job_id == created[0]

    def claim_all(worker: int) -> list[Lease]:
        claimed = []
        while lease := any_store.queue.claim("validate", f"worker-{worker}"):
            claimed.append(lease)
        return claimed

    with ThreadPoolExecutor(4) as pool:
        leases = [lease for claimed in pool.map(claim_all, range(4)) for lease in claimed]
    # A claimer that meets a locked row may find nothing: what is left is there for the next one.
    leases += claim_all(9)
    assert sorted(lease.job_id for lease in leases) == sorted(created[1:])
    assert any_store.queue.waiting("validate") == 0
    assert len(any_store.queue.held()) == 12


def test_one_job_can_be_claimed_by_its_id(any_store: Store, add_job: AddJob) -> None:
    add_job(any_store)
    second = add_job(any_store)
    lease = any_store.queue.claim("validate", "w", job_id=second.id)
    assert lease is not None and lease.job_id == second.id
    assert any_store.queue.claim("validate", "w", job_id=second.id) is None


def test_no_more_jobs_are_held_than_the_claimer_allows(any_store: Store, add_job: AddJob) -> None:
    for _ in range(4):
        add_job(any_store)
    with ThreadPoolExecutor(4) as pool:
        leases = list(pool.map(lambda n: any_store.queue.claim("validate", f"w{n}", at_most=2), range(4)))
    held = [lease for lease in leases if lease is not None]
    assert len(held) == 2
    held[0].validated()
    assert any_store.queue.claim("train", "w", at_most=1) is not None, "each phase has its own limit"
    assert any_store.queue.claim("validate", "w", at_most=2) is not None
    assert any_store.queue.claim("validate", "w", at_most=2) is None


def test_position_counts_the_queued_jobs_before_it(any_store: Store, add_job: AddJob) -> None:
    jobs = [add_job(any_store) for _ in range(3)]
    assert any_store.jobs.queue_position("default", jobs[0].id) is None
    for job in jobs:
        lease = any_store.queue.claim("validate", "w", job_id=job.id)
        assert lease is not None
        lease.validated()
    assert [any_store.jobs.queue_position("default", job.id) for job in jobs] == [0, 1, 2]


def test_a_fenced_worker_writes_nothing(
    any_store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(any_store)
    version = make_version(lease)
    any_store.jobs.cancel("default", lease.job_id)
    before = (any_store.jobs.get("default", lease.job_id), messages(any_store, lease.job_id))

    assert lease.wanted() == "stop"
    writes: list[Callable[[], object]] = [
        lambda: lease.heartbeat(step=9),
        lambda: lease.add_event("late"),
        lambda: lease.add_metrics(step=1, data={}, message="late"),
        lambda: lease.resolve({"n_epochs": 3}),
        lambda: lease.add_save(step=9, directory="step-9"),
        lambda: lease.prune_saves(),
        lambda: lease.add_checkpoint(
            step=1,
            name="ft:tiny:org::Abcdef12:ckpt-step-1",
            digest=version.digest,
            metrics={},
            version=version,
        ),
        lambda: lease.publish(version, result_files=(), trained_tokens=1),
        lambda: lease.fail(code="x", message="late"),
        lambda: lease.pause(),
        lambda: lease.release(),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert before == (any_store.jobs.get("default", lease.job_id), messages(any_store, lease.job_id))
    assert any_store.versions.list("default") == ()


def test_a_lease_ends_with_its_ending(any_store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(any_store)
    assert lease.release().status == "queued"
    with pytest.raises(LeaseLost):
        lease.add_event("late")
    assert not list((any_store.home / "locks").glob("ftjob-*"))


def test_cancel_and_publish_race_and_the_first_commit_wins(
    any_store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(any_store)
    lease.publish(make_version(lease), result_files=(), trained_tokens=1)
    with pytest.raises(InvalidRequest, match="succeeded"):
        any_store.jobs.cancel("default", lease.job_id)


def test_publishing_without_the_weights_is_refused(
    any_store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(any_store)
    version = make_version(lease)
    any_store.weights.remove(version.digest)
    with pytest.raises(Corrupt):
        lease.publish(version, result_files=(), trained_tokens=1)
    assert lease.job.status == "running"


def test_work_done_again_after_a_crash_is_logged_once(
    any_store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(any_store)
    version = make_version(lease)
    name = "ft:tiny:org::Abcdef12:ckpt-step-5"

    def work() -> list[object]:
        return [
            lease.add_event("Fine-tuning job started", once_key="started"),
            lease.add_metrics(step=5, data={"train_loss": 0.1}, message="Step 5/9: training loss=0.10"),
            lease.add_checkpoint(
                step=5,
                name=name,
                digest=version.digest,
                metrics={"step": 5},
                version=version,
                message="Checkpoint created at step 5",
            ),
        ]

    first, second = work(), work()
    assert first[:2] == [True, True] and second[:2] == [False, False]
    assert first[2] == second[2]
    assert len(messages(any_store, lease.job_id)) == 6
    assert len(any_store.jobs.checkpoints("default", lease.job_id).items) == 1
    assert len(any_store.versions.of_job("default", lease.job_id)) == 1


def test_several_steps_are_logged_in_one_go_and_each_once(any_store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(any_store)
    rows = [(step, {"step": step}, f"Step {step}/9") for step in range(1, 5)]
    assert lease.add_all_metrics(rows[:3]) == 3
    assert lease.add_all_metrics(rows[1:]) == 1
    assert messages(any_store, lease.job_id)[3:] == [f"Step {step}/9" for step in range(1, 5)]
    assert lease.job.step == 4


def test_pausing_a_running_job_waits_for_its_worker(any_store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(any_store)
    pausing = any_store.jobs.pause("default", lease.job_id)
    assert (pausing.status, pausing.wanted) == ("running", "pause")
    assert any_store.jobs.pause("default", lease.job_id) == pausing
    assert lease.wanted() == "pause" and lease.heartbeat() == "pause"
    assert lease.pause().status == "paused"
    with pytest.raises(InvalidRequest, match="paused"):
        any_store.jobs.pause("default", lease.job_id)
    assert any_store.queue.claim("train", "w") is None
    assert any_store.jobs.resume("default", lease.job_id).status == "queued"
    again = any_store.queue.claim("train", "w")
    assert again is not None and again.token > lease.token and again.wanted() == "run"


def test_a_pause_can_be_withdrawn_before_it_happens(any_store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(any_store)
    any_store.jobs.pause("default", lease.job_id)
    assert any_store.jobs.resume("default", lease.job_id).wanted == "run"
    assert lease.wanted() == "run"
    with pytest.raises(InvalidRequest, match="running"):
        any_store.jobs.resume("default", lease.job_id)


def test_jobs_paused_for_a_full_disk_resume_together(any_store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(any_store)
    lease.pause("disk_full", message="Pausing: the disk is full")
    other = train_lease(any_store)
    other.pause()
    assert [job.id for job in any_store.queue.resume_paused("disk_full")] == [lease.job_id]
    assert any_store.jobs.get("default", lease.job_id).status == "queued"
    assert any_store.jobs.get("default", other.job_id).status == "paused"


def test_a_dead_workers_job_is_taken_back_at_once(any_store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(any_store)
    assert any_store.queue.reap() == ()
    lease.close()
    (job,) = any_store.queue.reap()
    assert (job.id, job.status, job.owner, job.attempts) == (lease.job_id, "queued", None, 1)
    assert messages(any_store, job.id)[-1].startswith("The worker stopped unexpectedly; the job goes on")
    with pytest.raises(LeaseLost):
        lease.add_event("late")


def test_a_silent_worker_is_fenced_after_thirty_seconds_of_the_reapers_own_clock(
    any_store: Store, train_lease: TrainLease
) -> None:
    lease = train_lease(any_store)
    clock = Clock()
    reaper = reaper_of(any_store, clock)
    assert reaper.reap() == ()
    clock.now = 29.0
    assert reaper.reap() == ()
    lease.heartbeat(step=1)
    clock.now = 58.0
    assert reaper.reap() == ()
    clock.now = 87.9
    assert reaper.reap() == ()
    clock.now = 88.0
    assert [job.id for job in reaper.reap()] == [lease.job_id]
    assert lease.wanted() == "stop"


def test_three_crashes_without_progress_fail_the_job(any_store: Store, train_lease: TrainLease) -> None:
    lease: Lease | None = train_lease(any_store)
    assert lease is not None
    for attempt in (1, 2):
        lease.close()
        (job,) = any_store.queue.reap()
        assert (job.status, job.attempts) == ("queued", attempt)
        lease = any_store.queue.claim("train", "w")
        assert lease is not None
    lease.close()
    (job,) = any_store.queue.reap()
    assert job.status == "failed" and job.finished_at is not None
    assert job.error is not None and job.error["code"] == "worker_crashed"


def test_every_way_to_die_in_training_has_its_consequence(any_store: Store, train_lease: TrainLease) -> None:
    """Killed for memory: half at once. Killed: half the second time. Anything else: three attempts."""
    lease: Lease | None = train_lease(any_store)

    def die(ending: Ending) -> Job:
        nonlocal lease
        assert lease is not None
        lease.heartbeat(phase="training")
        lease.close()
        (job,) = any_store.queue.reap(lambda owner: ending)
        lease = any_store.queue.claim("train", "w")
        return job

    assert lease is not None
    lease.use_microbatch(512)
    endings: tuple[Ending, ...] = ("killed", "killed", "killed", "out_of_memory", "crashed")
    fates = [(job.max_microbatch_tokens, job.attempts) for job in map(die, endings)]
    assert fates == [(512, 1), (256, 1), (128, 1), (64, 1), (64, 2)]
    job = die("out_of_memory")
    assert job.status == "failed"
    assert job.error is not None and job.error["code"] == "out_of_memory"
    assert "even with 64 tokens at a time" in job.error["message"]


def test_a_worker_killed_before_it_trains_is_followed_by_its_equals(
    any_store: Store, train_lease: TrainLease
) -> None:
    lease: Lease | None = train_lease(any_store)
    for attempts in (1, 2):
        assert lease is not None
        lease.close()
        (job,) = any_store.queue.reap(lambda owner: "out_of_memory")
        assert (job.status, job.attempts, job.max_microbatch_tokens) == ("queued", attempts, None)
        lease = any_store.queue.claim("train", "w")
    assert lease is not None
    lease.close()
    (job,) = any_store.queue.reap(lambda owner: "out_of_memory")
    assert job.error is not None and job.error["code"] == "out_of_memory"


def test_a_job_that_advances_may_crash_any_number_of_times(any_store: Store, train_lease: TrainLease) -> None:
    lease: Lease | None = train_lease(any_store)
    for step in range(1, 8):
        assert lease is not None
        lease.add_save(step=step, directory=f"step-{step:08d}.{lease.token}")
        lease.close()
        (job,) = any_store.queue.reap()
        assert (job.status, job.attempts) == ("queued", 0)
        lease = any_store.queue.claim("train", "w")
    assert lease is not None
    assert [save.step for save in lease.saves()] == [7, 6, 5, 4, 3, 2, 1]


def test_a_worker_that_dies_while_pausing_leaves_the_job_paused(
    any_store: Store, train_lease: TrainLease
) -> None:
    lease = train_lease(any_store)
    any_store.jobs.pause("default", lease.job_id)
    lease.close()
    (job,) = any_store.queue.reap()
    assert (job.status, job.wanted) == ("paused", "run")
    assert any_store.jobs.resume("default", job.id).status == "queued"


def test_a_worker_that_dies_while_validating_validates_again(any_store: Store, add_job: AddJob) -> None:
    add_job(any_store)
    lease = any_store.queue.claim("validate", "w")
    assert lease is not None
    lease.close()
    (job,) = any_store.queue.reap()
    assert job.status == "validating_files"
    assert any_store.queue.claim("validate", "w") is not None


def test_the_kernel_frees_the_job_of_a_killed_process(store: Store, add_job: AddJob) -> None:
    add_job(store)
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        lease = Store.open(store.home, floor_bytes=0).queue.claim("validate", "child")
        os.write(tell, b"1" if lease is not None else b"0")
        signal.pause()
    assert os.read(ready, 1) == b"1"
    assert store.queue.reap() == ()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(store.queue.reap()) == 1


def test_pruning_keeps_the_newest_two_saves(store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(store)
    for step in (1, 2, 3, 4):
        name = f"step-{step:08d}.{lease.token}"
        (lease.directory / name).mkdir()
        lease.add_save(step=step, directory=name)
    lease.prune_saves(keep=1)
    assert [save.step for save in lease.saves()] == [4, 3]
    assert sorted(path.name for path in lease.directory.iterdir()) == [
        f"step-{step:08d}.{lease.token}" for step in (3, 4)
    ]


def test_a_changed_training_file_is_noticed(store: Store, train_lease: TrainLease) -> None:
    lease = train_lease(store)
    path: Path = store.files.path("default", lease.job.training_file)
    path.chmod(0o600)
    path.write_bytes(b"{} \n")
    with pytest.raises(Corrupt):
        lease.open_training()
