"""The right to work on a job: every write through it is refused once somebody else has the job."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tailor.protocol.ids import new_id
from tailor.store.blobs import Blobs
from tailor.store.crashes import half_of
from tailor.store.database import Database
from tailor.store.faults import reach
from tailor.store.fence import Fence
from tailor.store.jobs import find_job
from tailor.store.journal import Journal
from tailor.store.locks import FileLock
from tailor.store.made import delete_checkpoint, find_checkpoint, insert_checkpoint, insert_version
from tailor.store.records import (
    Checkpoint,
    ClaimPhase,
    Job,
    JsonObject,
    Save,
    Version,
)
from tailor.store.saves import Saves
from tailor.store.weights import Weights


class Lease(Journal):
    """A claimed job. Every writing method raises LeaseLost once the job is no longer ours.

    Every write also counts as a sign of life. Use it as a context manager: leaving it frees the lock, so
    that a job left unfinished by an error goes to the next worker at once.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: Blobs,
        weights: Weights,
        home: Path,
        job: Job,
        phase: ClaimPhase,
        lock: FileLock,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._weights = weights
        self._home = home
        super().__init__(Fence(database=database, job=job, lock=lock))
        self._saves = Saves(database=database, fence=self._fence)
        self.phase = phase
        """What was claimed: `validate` or `train`."""
        self.job_id = job.id
        self.tenant = job.tenant
        self.token = job.token
        """The fencing token: put it into the names of files that this attempt writes."""

    # Reading

    @property
    def job(self) -> Job:
        """The job as it is now."""
        with self._database.read() as connection:
            return find_job(connection, self.tenant, self.job_id)

    def open_training(self) -> BinaryIO:
        """The training file's bytes as they were when the job was made; raises Corrupt if they changed."""
        return self._blobs.open_verified(self.job.training_sha256)

    def open_validation(self) -> BinaryIO | None:
        """The validation file's bytes likewise; None when the job has none."""
        sha256 = self.job.validation_sha256
        return None if sha256 is None else self._blobs.open_verified(sha256)

    @property
    def directory(self) -> Path:
        """The job's own directory for saves; it exists."""
        path = self._home / "checkpoints" / self.job_id
        path.mkdir(parents=True, exist_ok=True)
        return path

    def saves(self) -> tuple[Save, ...]:
        """Recorded saves, newest first: go on from the first whose directory verifies."""
        return self._saves.list()

    # Writing on the way: the log and the figures are the Journal's

    def add_save(self, *, step: int, directory: str) -> None:
        """Record that `self.directory / directory` holds everything needed to go on from `step`."""
        self._saves.add(step=step, directory=directory)

    def prune_saves(self, *, keep: int = 2) -> None:
        """Delete all but the newest `keep` saves (at least 2) and directories that no save names."""
        self._saves.prune(self.directory, keep=keep)

    def add_checkpoint(
        self,
        *,
        step: int,
        name: str,
        digest: str,
        metrics: JsonObject,
        version: Version,
        message: str | None = None,
    ) -> Checkpoint:
        """Publish a checkpoint as a model, with `message` in the log; once per step.

        Done again after a crash it changes nothing and returns the first one, with the first one's name.
        The weights must be under `digest` already (`Weights.publish`), else Corrupt.
        """
        new = Checkpoint(
            id=new_id("checkpoint"),
            job_id=self.job_id,
            created_at=int(time.time()),
            step=step,
            name=name,
            digest=digest,
            metrics=metrics,
        )
        with self._weights.holding(digest), self._fence.writing() as connection:
            earlier = find_checkpoint(connection, self._fence, step)
            if earlier is not None:
                return earlier
            insert_checkpoint(connection, self._fence, new)
            insert_version(connection, self._fence, version, place=f"step-{step}")
            if message is not None:
                self._fence.write_event(connection, message, once_key=f"checkpoint:{step}")
        return new

    def remove_checkpoint(self, step: int) -> None:
        """Take a checkpoint off the job's list; its version is for `Versions.delete`, before."""
        with self._fence.writing() as connection:
            delete_checkpoint(connection, self._fence, step)

    # Endings: each frees the job and closes the lease

    def validated(
        self,
        message: str = "Files validated, moving job to queued state",
        *,
        hyperparameters: JsonObject | None = None,
    ) -> Job:
        """The files are good: the job waits for its turn to train."""
        values: dict[str, Any] = {"status": "queued", "phase": "queued", "attempts": 0}
        if hyperparameters is not None:
            values["hyperparameters"] = hyperparameters
        with self._fence.ending(**values) as connection:
            self._fence.write_event(connection, message, once_key="validated")
        return self.job

    def publish(self, version: Version, *, result_files: Sequence[str], trained_tokens: int) -> Job:
        """The job has succeeded: the version, the status and the last events, all or nothing.

        The weights must be under `version.digest` already, else Corrupt.
        """
        values = {
            "status": "succeeded",
            "phase": "publishing",
            "fine_tuned_model": version.id,
            "trained_tokens": trained_tokens,
            "result_files": list(result_files),
            "finished_at": int(time.time()),
            "step": version.step,
        }
        reach("before_publish")
        with self._weights.holding(version.digest), self._fence.ending(**values) as connection:
            insert_version(connection, self._fence, version, place="final")
            for message in (
                f"New fine-tuned model created: {version.id}",
                "The job has successfully completed",
            ):
                self._fence.write_event(connection, message)
            reach("before_publish_commit")
        reach("after_publish_commit")
        return self.job

    def fail(
        self, *, code: str, message: str, param: str | None = None, problems: list[JsonObject] | None = None
    ) -> Job:
        """The job has failed, and why; the sentence also goes into the log.

        `problems` lists what is wrong with a refused file, one by one.
        """
        error: JsonObject = {"code": code, "message": message, "param": param}
        if problems is not None:
            error["problems"] = problems
        values = {"status": "failed", "error": error, "finished_at": int(time.time())}
        with self._fence.ending(**values) as connection:
            self._fence.write_event(connection, message, level="error")
        return self.job

    def pause(self, reason: str | None = None, *, message: str = "Job paused") -> Job:
        """Everything is saved: the job rests until somebody resumes it.

        A `reason` such as `disk_full` says that we paused it ourselves (see `Queue.resume_paused`).
        """
        values = {
            "status": "paused",
            "resume_status": self._waiting_status(),
            "pause_reason": reason,
        }
        with self._fence.ending(**values) as connection:
            self._fence.write_event(connection, message, level="info" if reason is None else "warn")
        return self.job

    def release(self) -> Job:
        """Give the job back unfinished, to be claimed again (a shutdown, not a crash)."""
        status = self._waiting_status()
        with self._fence.ending(status=status, phase="queued" if status == "queued" else "validating"):
            pass
        return self.job

    def release_smaller(self) -> bool:
        """Out of memory: give the job back, to go on with half as many tokens at a time.

        False, and nothing changed, when that could not help.
        """
        job = self.job
        smaller = half_of(job)
        if smaller is None:
            return False
        with self._fence.ending(status="queued", phase="queued", max_microbatch_tokens=smaller) as connection:
            self._fence.write_event(
                connection,
                "Memory ran out; the job goes on from its last checkpoint "
                f"with {smaller} tokens at a time instead of {job.max_microbatch_tokens}",
                level="warn",
                data={"recovery": True},
            )
        return True

    def close(self) -> None:
        """Free the lock. An unfinished job is then as good as crashed: the reaper requeues it."""
        self._fence.release()

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _waiting_status(self) -> str:
        return "queued" if self.phase == "train" else "validating_files"
