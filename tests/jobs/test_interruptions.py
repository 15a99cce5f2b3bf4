"""Cancel, pause, resume, shutdown and faults, in each phase of a job: always one legal state."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tailor.errors import InvalidRequest
from tailor.jobs.attempt import DISK_FULL
from tailor.jobs.shutdown import EXIT_UNFINISHED, Shutdown
from tailor.store import Job, Store
from tests.faults.scene import (
    TENANT,
    Remains,
    add_base,
    add_job,
    leftovers,
    remains_of,
    training_rows,
)
from tests.jobs.conftest import At, Work, log_of, work_once

PHASES = {
    "validating": "before_validated",
    "preparing": "after_claim",
    "training": "after_step:5",
    "saving": "before_publish_rename",
    "evaluating": "in_proof:3",
    "publishing": "before_publish",
}
HEARD_SECONDS = 0.8
"""Time for the worker's pulse to hear of a pause."""


@pytest.fixture(scope="module")
def undisturbed(finished: tuple[Store, Job]) -> Remains:
    """What the small job leaves when nobody disturbs it."""
    return remains_of(finished[0], finished[1].id)


def is_as_undisturbed(store: Store, job: Job, undisturbed: Remains) -> bool:
    """Whether weights, figures and result file are the same; names differ with the job's id."""
    remains = remains_of(store, job.id)
    final = [digest for name, digest in remains.weights if name == remains.model]
    expected = [digest for name, digest in undisturbed.weights if name == undisturbed.model]
    return (
        final == expected
        and remains.metrics == undisturbed.metrics
        and remains.csv == undisturbed.csv
        and remains.trained_tokens == undisturbed.trained_tokens
        and leftovers(store.home) == []
    )


@pytest.mark.parametrize("point", PHASES.values(), ids=PHASES)
def test_a_cancelled_job_stops_and_leaves_no_model(
    store: Store, small_job: Job, work: Work, at: At, point: str
) -> None:
    at(point, lambda: store.jobs.cancel(TENANT, small_job.id))

    job = work(small_job)

    assert job.status == "cancelled"
    assert job.finished_at is not None
    assert job.fine_tuned_model is None and job.result_files == ()
    assert all(version.kind == "checkpoint" for version in store.versions.of_job(TENANT, job.id))
    assert log_of(store, job)[-1] == "Job cancelled"
    assert [name for name in leftovers(store.home) if name.startswith(".tmp")] == []


@pytest.mark.parametrize("phase", ["validating", "preparing", "training", "evaluating"])
def test_a_paused_job_goes_on_to_the_same_end(
    store: Store, small_job: Job, work: Work, at: At, undisturbed: Remains, phase: str
) -> None:
    def pause() -> None:
        store.jobs.pause(TENANT, small_job.id)
        time.sleep(HEARD_SECONDS)

    at(PHASES[phase], pause)
    paused = work(small_job)
    assert (paused.status, paused.pause_reason) == ("paused", None)

    store.jobs.resume(TENANT, small_job.id)
    job = work(small_job)

    assert job.status == "succeeded"
    assert is_as_undisturbed(store, job, undisturbed)


def test_the_state_that_a_job_rests_in_can_be_tried_out(
    store: Store, small_job: Job, work: Work, at: At
) -> None:
    def pause() -> None:
        store.jobs.pause(TENANT, small_job.id)
        time.sleep(HEARD_SECONDS)

    at("after_step:3", pause)
    work(small_job)

    assert [checkpoint.step for checkpoint in store.jobs.checkpoints(TENANT, small_job.id).items] == [3]


def test_a_queued_job_can_be_paused_resumed_and_cancelled(store: Store, small_job: Job) -> None:
    work_once(store, small_job)
    assert store.jobs.get(TENANT, small_job.id).status == "queued"

    assert store.jobs.pause(TENANT, small_job.id).status == "paused"
    assert store.queue.waiting("train") == 0
    assert store.jobs.resume(TENANT, small_job.id).status == "queued"
    assert store.jobs.cancel(TENANT, small_job.id).status == "cancelled"
    assert store.queue.waiting("train") == 0


def test_a_pause_that_comes_too_late_is_withdrawn_by_resuming(
    store: Store, small_job: Job, work: Work, at: At
) -> None:
    def think_again() -> None:
        store.jobs.pause(TENANT, small_job.id)
        store.jobs.resume(TENANT, small_job.id)

    at("after_step:3", think_again)

    assert work(small_job).status == "succeeded"


def test_whoever_commits_first_decides_between_publishing_and_cancelling(
    store: Store, small_job: Job, work: Work, at: At
) -> None:
    refused: list[str] = []
    threads: list[threading.Thread] = []

    def cancel() -> None:
        try:
            store.jobs.cancel(TENANT, small_job.id)
        except InvalidRequest as error:
            refused.append(str(error.code))

    def cancel_beside() -> None:
        threads.append(threading.Thread(target=cancel))
        threads[0].start()
        time.sleep(0.05)

    at("before_publish_commit", cancel_beside)
    job = work(small_job)
    threads[0].join()

    assert job.status == "succeeded"
    assert refused == ["job_not_cancellable"]
    with pytest.raises(InvalidRequest):
        store.jobs.pause(TENANT, job.id)


@pytest.mark.parametrize("phase", ["preparing", "training", "evaluating"])
def test_a_shutdown_saves_and_gives_the_job_back(
    store: Store, small_job: Job, work: Work, at: At, undisturbed: Remains, phase: str
) -> None:
    shutdown = Shutdown()
    at(PHASES[phase], shutdown.ask)
    work_once(store, small_job)

    status = work_once(store, store.jobs.get(TENANT, small_job.id), shutdown=shutdown)

    waiting = store.jobs.get(TENANT, small_job.id)
    assert status == EXIT_UNFINISHED
    assert (waiting.status, waiting.owner, waiting.attempts) == ("queued", None, 0)
    if phase == "training":
        assert waiting.saved_step == 5
    job = work(small_job)
    assert job.status == "succeeded"
    assert is_as_undisturbed(store, job, undisturbed)


def test_a_full_disk_pauses_the_job_until_there_is_room(
    store: Store, small_job: Job, work: Work, at: At, undisturbed: Remains
) -> None:
    def fill() -> None:
        store.floor_bytes = 1 << 62

    at("after_step:4", fill)
    paused = work(small_job)

    assert (paused.status, paused.pause_reason) == ("paused", DISK_FULL)
    assert "goes on by itself once there is room" in log_of(store, paused)[-1]
    store.floor_bytes = 0
    assert [job.id for job in store.queue.resume_paused(DISK_FULL)] == [small_job.id]
    job = work(small_job)
    assert job.status == "succeeded"
    assert is_as_undisturbed(store, job, undisturbed)


def test_a_damaged_save_is_passed_over(
    store: Store, small_job: Job, work: Work, at: At, undisturbed: Remains
) -> None:
    shutdown = Shutdown()
    at("after_step:8", shutdown.ask)
    work(small_job, shutdown=shutdown)
    newest = max((store.home / "checkpoints" / small_job.id).glob("step-*"))
    damage(newest / "state.safetensors")

    job = work(small_job)

    log = log_of(store, job)
    assert "The saved state at step 8 is damaged and is not used." in log
    assert "Going on from the state saved at step 6" in log
    assert is_as_undisturbed(store, job, undisturbed)


def test_when_no_save_is_usable_training_starts_again(
    store: Store, small_job: Job, work: Work, at: At, undisturbed: Remains
) -> None:
    shutdown = Shutdown()
    at("after_step:3", shutdown.ask)
    work(small_job, shutdown=shutdown)
    for save in (store.home / "checkpoints" / small_job.id).glob("step-*"):
        (save / "MANIFEST.json").write_bytes(b"{")

    job = work(small_job)

    assert "No saved state is usable; training starts again." in log_of(store, job)
    assert is_as_undisturbed(store, job, undisturbed)


def test_a_worker_that_lost_its_job_writes_nothing_more(
    store: Store, small_job: Job, work: Work, at: At, undisturbed: Remains
) -> None:
    work_once(store, small_job)
    held: list[int] = []
    saves = store.home / "checkpoints" / small_job.id

    def be_fenced() -> None:
        """As the reaper would after a long sleep; the next worker is already writing."""
        token = store.jobs.get(TENANT, small_job.id).token
        for name in (f"step-00000005.{token + 2}-abcdef", f"weights-6.{token}", f"step-00000005.{token}-abc"):
            (saves / f".tmp-{name}").mkdir()
        store.jobs.pause(TENANT, small_job.id)
        store.queue._reaper._take(TENANT, small_job.id, store.jobs.get(TENANT, small_job.id).token)
        store.jobs.resume(TENANT, small_job.id)
        held.append(len(log_of(store, small_job)))

    at("after_step:4", be_fenced)
    status = work_once(store, store.jobs.get(TENANT, small_job.id))

    assert status == 0
    assert len(log_of(store, small_job)) == held[0]
    assert [path.name for path in saves.glob(".tmp-*")] == [".tmp-step-00000005.4-abcdef"]
    job = work(small_job)
    assert job.status == "succeeded"
    assert is_as_undisturbed(store, job, undisturbed)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("in /home/somebody/secret.py"), "server_error"),
        (InvalidRequest("Too many.", param="hyperparameters", remedy="Take fewer."), "invalid_request"),
    ],
    ids=["fault", "user"],
)
def test_a_job_that_cannot_go_on_says_why(
    store: Store, small_job: Job, work: Work, at: At, error: Exception, code: str
) -> None:
    at("after_step:2", raising(error))
    job = work(small_job)

    assert job.status == "failed"
    assert job.error is not None and job.error["code"] == code
    message = job.error["message"]
    assert log_of(store, job)[-1] == message
    if code == "server_error":
        assert message.startswith("The job failed due to an internal error (incident ")
        assert "RuntimeError" in message and "/" not in message
        incident = re.findall(r"incident (\w+)", message)[0]
        log = (store.home / "logs" / f"{job.id}.log").read_text()
        assert incident in log and "Traceback" in log
    else:
        assert message == "Too many. Take fewer."


def test_a_base_that_is_gone_fails_the_job_with_a_remedy(store: Store, small_job: Job, work: Work) -> None:
    store.bases.remove("tiny")

    job = work(small_job)

    assert job.error is not None
    assert job.error["code"] == "model_not_available"


def test_a_base_whose_files_changed_fails_the_job_with_a_remedy(
    store: Store, tiny_base: Path, tmp_path: Path, work: Work
) -> None:
    base = shutil.copytree(tiny_base, tmp_path / "base")
    add_base(store, base, name="moving")
    template = base / "chat_template.jinja"
    template.write_text(template.read_text() + " ")

    job = work(add_job(store, rows=training_rows(28), base="moving"))

    assert job.error is not None
    assert job.error["code"] == "base_changed"
    assert "tailor models add" in job.error["message"]


def raising(error: Exception) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(content))
