"""The first half of a job: are the files good? Imports nothing heavy, so the answer comes quickly."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, BinaryIO, Literal, cast

from tailor.data import DataReport, Dataset, overlap, read_for
from tailor.jobs.attempt import Attempt, Refused
from tailor.jobs.graders import grader_of, missing_fields
from tailor.store import Job, reach

TICK_EVERY_LINES = 1_000
_ADVICE_IN_MESSAGE = 10


def validate(attempt: Attempt) -> None:
    """Check both files and move the job to the queue.

    Raises:
        Refused: a file is not good; all problems are named.
        LeaseLost: the job was cancelled or paused meanwhile.
    """
    lease, job, tick = attempt.lease, attempt.job, attempt.pulse.stop_if_asked
    training = read_checked(lease.open_training(), job, "training_file", tick)
    report = training.report
    stream = lease.open_validation()
    if stream is not None:
        validation = read_checked(stream, job, "validation_file", tick)
        _advise(attempt, validation.report.including(overlap(training, validation)))
    _advise(attempt, report)
    attempt.pulse.stop_if_asked()
    reach("before_validated")
    lease.validated()


def method_of(job: Job) -> str:
    """The training method that was asked for."""
    return str(job.method.get("type", "supervised"))


def read_checked(
    stream: BinaryIO,
    job: Job,
    param: Literal["training_file", "validation_file"],
    tick: Callable[[], None],
) -> Dataset[Any]:
    """A good file's examples, of the kind that the job's method learns from.

    Raises:
        Refused: the file is not good; every problem is named.
    """
    name = str(job.training_file if param == "training_file" else job.validation_file)
    method = method_of(job)
    with stream:
        dataset = read_for(method, _watched(stream, tick), name=name, part=param)
    if (grader := grader_of(job)) is not None:
        missing = missing_fields(grader, dataset.examples)
        dataset = replace(dataset, report=dataset.report.including(missing))
    if not dataset.report.ok:
        error = dataset.report.job_error(param=param)
        problems = [asdict(problem) for problem in dataset.report.blocking]
        raise Refused(error["message"], code=error["code"], param=param, details={"problems": problems})
    return dataset


def _advise(attempt: Attempt, report: DataReport) -> None:
    """Say once what is worth a look in a file."""
    advice = [problem for problem in report.problems if problem.severity == "advice"]
    if not advice:
        return
    lines = [str(problem) for problem in advice[:_ADVICE_IN_MESSAGE]]
    if report.num_advice > len(lines):
        lines.append(f"... and {report.num_advice - len(lines)} more.")
    noun = "piece" if report.num_advice == 1 else "pieces"
    attempt.lease.add_event(
        f"{report.file}: {report.num_advice} {noun} of advice\n" + "\n".join(lines),
        level="warn",
        data={"problems": [asdict(problem) for problem in advice]},
        once_key=f"advice:{report.file}",
    )


def _watched(stream: BinaryIO, tick: Callable[[], None]) -> BinaryIO:
    """The same stream; every so many lines it says that the work moves."""

    class Watched(io.BufferedReader):
        num_lines = 0

        def readline(self, size: int | None = -1) -> bytes:
            self.num_lines += 1
            if self.num_lines % TICK_EVERY_LINES == 0:
                tick()
            return super().readline(size)

    return cast(BinaryIO, Watched(stream))  # type: ignore[arg-type]
