"""Workers without a cold start: forked from a process that has torch imported and has computed nothing."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tailor.jobs.settings import WorkerSettings
from tailor.jobs.shutdown import Shutdown
from tailor.jobs.worker import Worker
from tailor.store.faults import VARIABLE
from tailor.store.records import ClaimPhase
from tests.faults.scene import TENANT, open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """When to kill a worker."""

    after_seconds: float | None = None
    at_point: str | None = None
    """A named point, `name` or `name:n` for its n-th passing."""

    def __str__(self) -> str:
        return self.at_point or f"{self.after_seconds:.3f} s"


def work(home: Path, job_id: str, kill: Kill | None = None) -> bool:
    """Take the job back from the dead if need be, and do its next phase in a new process; whether it died."""
    process = os.fork()
    if process == 0:
        _be_a_worker(home, job_id, kill)
    if kill is not None and kill.after_seconds is not None:
        _kill_later(process, kill.after_seconds)
    _, status = os.waitpid(process, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _be_a_worker(home: Path, job_id: str, kill: Kill | None) -> None:
    status = 70
    try:
        if kill is not None and kill.at_point is not None:
            os.environ[VARIABLE] = kill.at_point
        store = open_store(home)
        store.queue.reap()
        job = store.jobs.get(TENANT, job_id)
        phase: ClaimPhase = "validate" if job.status == "validating_files" else "train"
        settings = WorkerSettings(num_threads=1, idle_seconds=0.0)
        status = Worker(store=store, settings=settings, shutdown=Shutdown(), phase=phase).run()
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _kill_later(process: int, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)
