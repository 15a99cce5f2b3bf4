"""The right to work on a job: every write through it is refused once somebody else has the job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

from sqlalchemy import Connection, select

from tailor.errors import TailorError
from tailor.protocol.ids import new_id
from tailor.store.atomic import Corrupt, remove_directory
from tailor.store.blobs import Blobs
from tailor.store.database import Database
from tailor.store.events import write_event
from tailor.store.faults import reach
from tailor.store.jobs import find_job
from tailor.store.locks import FileLock
from tailor.store.records import (
    Checkpoint,
    ClaimPhase,
    EventType,
    Job,
    JobPhase,
    JsonObject,
    Level,
    Save,
    Version,
    to_record,
)
from tailor.store.tables import checkpoints, jobs, saves, versions
from tailor.store.weights import Weights

Wanted = Literal["run", "pause", "stop"]


class LeaseLost(TailorError):
    """Somebody else has the job, or it was cancelled: write nothing more, delete your own leftovers, stop."""

    default_code = "lease_lost"


class Lease:
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
        self._lock = lock
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

    def wanted(self) -> Wanted:
        """What to do next: go on, save and pause, or stop at once because the job is no longer ours."""
        query = select(jobs.c.wanted).where(*self._mine())
        with self._database.read() as connection:
            found: Wanted | None = connection.scalar(query)
        return found or "stop"

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
        query = (
            select(saves)
            .where(saves.c.tenant == self.tenant, saves.c.job_id == self.job_id)
            .order_by(saves.c.step.desc())
        )
        with self._database.read() as connection:
            return tuple(to_record(Save, dict(row)) for row in connection.execute(query).mappings())

    # Writing on the way

    def heartbeat(
        self,
        *,
        step: int | None = None,
        total_steps: int | None = None,
        phase: JobPhase | None = None,
        estimated_finish: int | None = None,
    ) -> Wanted:
        """Say that the work goes on, and how far it is; what to do next (`run` or `pause`).

        Call it from the work itself, about every 5 s, never from a side thread: a hung worker must fall
        silent. What is None stays as it was; `estimated_finish` is unix seconds.
        """
        given = {
            "step": step,
            "total_steps": total_steps,
            "phase": phase,
            "estimated_finish": estimated_finish,
        }
        values = {name: value for name, value in given.items() if value is not None}
        with self._writing(**values) as connection:
            found: Wanted = connection.execute(select(jobs.c.wanted).where(*self._mine())).scalar_one()
            return found

    def add_event(
        self,
        message: str,
        *,
        level: Level = "info",
        data: JsonObject | None = None,
        type: EventType = "message",
        once_key: str | None = None,
    ) -> bool:
        """Append to the job's log. With `once_key` a second call writes nothing and returns False."""
        with self._writing() as connection:
            return self._write_event(
                connection, message, level=level, data=data, type=type, once_key=once_key
            )

    def add_metrics(self, *, step: int, data: JsonObject, message: str) -> bool:
        """Log a step's figures and move the job's step; a step done again logs nothing and returns False."""
        return self.add_all_metrics([(step, data, message)]) == 1

    def add_all_metrics(self, rows: Sequence[tuple[int, JsonObject, str]]) -> int:
        """The same for several steps at once, in one transaction; how many of them were new."""
        with self._writing(step=rows[-1][0]) as connection:
            return sum(
                self._write_event(connection, message, type="metrics", data=data, once_key=f"metrics:{step}")
                for step, data, message in rows
            )

    def resolve(
        self,
        hyperparameters: JsonObject,
        *,
        method: JsonObject | None = None,
        total_steps: int | None = None,
    ) -> None:
        """Replace `"auto"` by what it came to."""
        values: dict[str, Any] = {"hyperparameters": hyperparameters}
        if method is not None:
            values["method"] = method
        if total_steps is not None:
            values["total_steps"] = total_steps
        with self._writing(**values):
            pass

    def add_save(self, *, step: int, directory: str) -> None:
        """Record that `self.directory / directory` holds everything needed to go on from `step`."""
        with self._writing(saved_step=step) as connection:
            connection.execute(
                saves.delete().where(
                    saves.c.tenant == self.tenant, saves.c.job_id == self.job_id, saves.c.step == step
                )
            )
            values = {"job_id": self.job_id, "step": step, "tenant": self.tenant}
            connection.execute(saves.insert().values(**values, directory=directory, token=self.token))

    def prune_saves(self, *, keep: int = 2) -> None:
        """Delete all but the newest `keep` saves (at least 2) and directories that no save names."""
        kept, dropped = self.saves()[: max(keep, 2)], self.saves()[max(keep, 2) :]
        with self._writing() as connection:
            for save in dropped:
                connection.execute(
                    saves.delete().where(
                        saves.c.tenant == self.tenant,
                        saves.c.job_id == self.job_id,
                        saves.c.step == save.step,
                    )
                )
        names = {save.directory for save in kept}
        for path in self.directory.glob("step-*"):
            if path.name not in names:
                remove_directory(path)

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
        with self._publishing(digest), self._writing() as connection:
            earlier = select(checkpoints).where(
                checkpoints.c.tenant == self.tenant,
                checkpoints.c.job_id == self.job_id,
                checkpoints.c.step == step,
            )
            row = connection.execute(earlier).mappings().one_or_none()
            if row is not None:
                return to_record(Checkpoint, dict(row))
            values = {field: getattr(new, field) for field in new.__dataclass_fields__}
            connection.execute(checkpoints.insert().values(**values, tenant=self.tenant))
            self._insert_version(connection, version, place=f"step-{step}")
            if message is not None:
                self._write_event(connection, message, once_key=f"checkpoint:{step}")
        return new

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
        with self._ending(**values) as connection:
            self._write_event(connection, message, once_key="validated")
        return self.job

    def publish(self, version: Version, *, result_file_id: str | None, trained_tokens: int) -> Job:
        """The job has succeeded: the version, the status and the last events, all or nothing.

        The weights must be under `version.digest` already, else Corrupt.
        """
        values = {
            "status": "succeeded",
            "phase": "publishing",
            "fine_tuned_model": version.id,
            "trained_tokens": trained_tokens,
            "result_files": [] if result_file_id is None else [result_file_id],
            "finished_at": int(time.time()),
            "step": version.step,
        }
        reach("before_publish")
        with self._publishing(version.digest), self._ending(**values) as connection:
            self._insert_version(connection, version, place="final")
            for message in (
                f"New fine-tuned model created: {version.id}",
                "The job has successfully completed",
            ):
                self._write_event(connection, message)
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
        with self._ending(**values) as connection:
            self._write_event(connection, message, level="error")
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
        with self._ending(**values) as connection:
            self._write_event(connection, message, level="info" if reason is None else "warn")
        return self.job

    def release(self) -> Job:
        """Give the job back unfinished, to be claimed again (a shutdown, not a crash)."""
        status = self._waiting_status()
        with self._ending(status=status, phase="queued" if status == "queued" else "validating"):
            pass
        return self.job

    def close(self) -> None:
        """Free the lock. An unfinished job is then as good as crashed: the reaper requeues it."""
        self._lock.release(remove=False)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Inside

    def _mine(self) -> tuple[Any, ...]:
        return (
            jobs.c.tenant == self.tenant,
            jobs.c.id == self.job_id,
            jobs.c.token == self.token,
            jobs.c.owner.is_not(None),
        )

    @contextmanager
    def _writing(self, **values: Any) -> Iterator[Connection]:
        """One transaction that begins by touching our own row: if that row is gone, so is the lease."""
        with self._database.write() as connection:
            touched = jobs.update().where(*self._mine()).values(hb=jobs.c.hb + 1, **values)
            if connection.execute(touched).rowcount != 1:
                raise LeaseLost(f"The lease {self.token} on job {self.job_id} is no longer held.")
            yield connection

    @contextmanager
    def _ending(self, **values: Any) -> Iterator[Connection]:
        with self._writing(owner=None, wanted="run", estimated_finish=None, **values) as connection:
            yield connection
        self._lock.release(remove=True)

    @contextmanager
    def _publishing(self, digest: str) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(self._weights.guard())
            if not self._weights.has(digest):
                raise Corrupt(f"The weights {digest[:12]} are not in the store.")
            yield

    def _insert_version(self, connection: Connection, version: Version, *, place: str) -> None:
        ours = replace(version, tenant=self.tenant, job_id=self.job_id)
        values = {field: getattr(ours, field) for field in ours.__dataclass_fields__}
        connection.execute(versions.insert().values(**values, place=place))

    def _write_event(self, connection: Connection, message: str, **more: Any) -> bool:
        return write_event(connection, tenant=self.tenant, job_id=self.job_id, message=message, **more)

    def _waiting_status(self) -> str:
        return "queued" if self.phase == "train" else "validating_files"
