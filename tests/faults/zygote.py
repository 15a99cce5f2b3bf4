"""Workers without a cold start: forked from a process that has torch imported and has computed nothing."""

from __future__ import annotations

import mmap
import os
import signal
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import tailor.jobs.fit
from tailor.jobs.settings import WorkerSettings
from tailor.jobs.shutdown import Shutdown
from tailor.jobs.worker import Worker
from tailor.store import ClaimPhase
from tailor.store.faults import VARIABLE, reach
from tests.faults.scene import TENANT, open_store


@dataclass(frozen=True, kw_only=True, slots=True)
class Kill:
    """When to kill a worker."""

    after_seconds: float | None = None
    at_point: str | None = None
    """A named point, `name` or `name:n` for its n-th passing."""

    def __str__(self) -> str:
        return self.at_point or f"{self.after_seconds:.3f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Life:
    """What became of a worker."""

    was_killed: bool
    num_steps: int
    """Training steps that it did, written down or not."""


def work(home: Path, job_id: str, kill: Kill | None = None) -> Life:
    """Take the job back from the dead if need be, and do its next phase in a new process."""
    with mmap.mmap(-1, 4) as steps:
        process = os.fork()
        if process == 0:
            _be_a_worker(home, job_id, kill, steps)
        if kill is not None and kill.after_seconds is not None:
            _kill_later(process, kill.after_seconds)
        _, status = os.waitpid(process, 0)
        was_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        return Life(was_killed=was_killed, num_steps=int.from_bytes(steps[:4]))


def _be_a_worker(home: Path, job_id: str, kill: Kill | None, steps: mmap.mmap) -> None:
    def count_and_reach(point: str) -> None:
        # In memory that outlives the process: the log may lag behind.
        if point == "after_step":
            steps[:4] = (int.from_bytes(steps[:4]) + 1).to_bytes(4)
        reach(point)

    status = 70
    try:
        vars(tailor.jobs.fit)["reach"] = count_and_reach
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
