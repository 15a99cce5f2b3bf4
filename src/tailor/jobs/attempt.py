"""One attempt at one job: what it may use, and how each way of ending is written down."""

from __future__ import annotations

import re
import shutil
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from tailor.errors import StorageFull, TailorError, Unavailable
from tailor.jobs.memory import is_out_of_memory
from tailor.jobs.pulse import Interrupted, Pulse
from tailor.jobs.settings import WorkerSettings
from tailor.jobs.shutdown import EXIT_UNFINISHED, Shutdown
from tailor.protocol import random_name
from tailor.store import Job, Lease, LeaseLost, Store, out_of_memory, sweep_leftovers

DISK_FULL = "disk_full"
"""The reason of a pause that ends by itself once there is room."""

MODEL_UNAVAILABLE = "model_unavailable"
"""The reason of a pause because a model that the job asks is not to be had."""

EXIT_DONE = 0


class Refused(TailorError):
    """The job cannot be done, and the user can mend it."""

    status = 400
    type = "invalid_request_error"


class Stuck(TailorError):
    """The job needs something that somebody else must bring back; it rests until then."""

    status = 503


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """What the work on a job may use."""

    store: Store
    lease: Lease
    job: Job
    """As it was when this attempt began."""
    pulse: Pulse
    settings: WorkerSettings


Work = Callable[[Attempt], None]


def carry_out(work: Work, store: Store, lease: Lease, settings: WorkerSettings, shutdown: Shutdown) -> int:
    """Do the work and write down how it ended; the exit status of the process.

    The work ends the job itself when it succeeds. When the lease is lost, somebody else has decided: nothing
    is written, only the attempt's own leftovers go.
    """
    try:
        with lease, Pulse(lease, shutdown) as pulse:
            sweep_leftovers(lease.directory)
            attempt = Attempt(store=store, lease=lease, job=lease.job, pulse=pulse, settings=settings)
            try:
                work(attempt)
            except LeaseLost:
                raise
            except BaseException as error:
                return _end(attempt, error)
    except LeaseLost:
        _remove_own_leftovers(lease)
    return EXIT_DONE


def _remove_own_leftovers(lease: Lease) -> None:
    """Delete what this attempt left aside, and nothing of the attempt that may be running by now."""
    own = re.compile(rf"\.tmp-.*\.{lease.token}(-.*)?")
    for path in lease.directory.iterdir():
        if own.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _end(attempt: Attempt, error: BaseException) -> int:
    """Write down why the work stopped, in the place where its owner will look."""
    lease = attempt.lease
    match error:
        case Interrupted(reason="pause"):
            lease.pause()
        case Interrupted() | Unavailable():
            lease.release()
            return EXIT_UNFINISHED
        case Stuck():
            lease.pause(
                MODEL_UNAVAILABLE,
                message=f"{error.sentence} The job is paused; nothing is lost. Resume it once the model "
                "answers again.",
            )
        case StorageFull():
            lease.pause(
                DISK_FULL,
                message=f"{error.message} The job is paused and goes on by itself once there is room.",
            )
        case TailorError(status=status) if status < 500:
            problems = error.details.get("problems")
            lease.fail(
                code=error.code or "invalid_request",
                message=error.sentence,
                param=error.param,
                problems=problems,
            )
        case _ if is_out_of_memory(error):
            if lease.release_smaller():
                return EXIT_UNFINISHED
            lease.fail(**out_of_memory(lease.job))
        case Exception():
            _fail_with_incident(attempt, error)
        case _:
            raise error
    return EXIT_DONE


def record_incident(attempt: Attempt, error: BaseException) -> str:
    """Keep the traceback where only the operator sees it; the number under which it is found."""
    incident = random_name(8)
    path = attempt.store.home / "logs" / f"{attempt.lease.job_id}.log"
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    with path.open("a", encoding="utf-8") as log:
        log.write(f"{stamp} incident {incident}\n{''.join(traceback.format_exception(error))}\n")
    return incident


def _fail_with_incident(attempt: Attempt, error: BaseException) -> None:
    incident = record_incident(attempt, error)
    sys.stderr.write(f"job {attempt.lease.job_id}: incident {incident}: {type(error).__name__}\n")
    attempt.lease.fail(
        code="server_error",
        message=f"The job failed due to an internal error (incident {incident}): {type(error).__name__}. "
        "The operator finds the details in the job's log.",
    )
