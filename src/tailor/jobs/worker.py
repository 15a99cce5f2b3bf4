"""A worker process: `python -m tailor.jobs.worker --home DIR --phase train`.

It waits for a job, does it, and ends: what a job did to memory or to a device ends with it. Heavy imports
are made while it waits, so that a job does not wait for them.
"""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tailor.errors import TailorError
from tailor.jobs.attempt import EXIT_DONE, Work, carry_out
from tailor.jobs.settings import WorkerSettings, physical_cores
from tailor.jobs.shutdown import Shutdown
from tailor.jobs.validate import validate
from tailor.store import ClaimPhase, Lease, Store

POLL_SECONDS = 0.1
_DEAD = frozenset("ZX")
DATABASE_VARIABLE = "TAILOR_DATABASE_URL"
"""The database's url may hold a password, so it is not an argument that everybody can see."""

DEVICE_VARIABLE = "TAILOR_DEVICE"
"""As `models.devices` reads it; workers that a server starts have the server's."""


def process_id() -> str:
    """This process, told apart from a later one with the same number."""
    return f"{os.getpid()}:{started_at(os.getpid())}"


def started_at(process: int) -> int:
    """When a process began, in the kernel's ticks since boot; 0 for one that is dead or cannot be seen."""
    try:
        text = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    # The command's name, in brackets, may hold anything: count from its end.
    fields = text.rpartition(")")[2].split()
    return 0 if fields[0] in _DEAD else int(fields[19])


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One process's place in the queue."""

    store: Store
    settings: WorkerSettings
    shutdown: Shutdown
    phase: ClaimPhase

    def run(self) -> int:
        """Validate what waits, or train one job; the process's exit status."""
        work = self._work()
        while (lease := self._wait()) is not None:
            status = carry_out(work, self.store, lease, self.settings, self.shutdown)
            if status != EXIT_DONE or self.phase == "train":
                return status
        return EXIT_DONE

    def _work(self) -> Work:
        if self.phase == "validate":
            return validate
        from tailor.jobs.tune import tune  # torch and its friends: seconds, spent before there is a job

        return tune

    def _wait(self) -> Lease | None:
        """The next job; None when there has been none for long, or nobody wants us any more."""
        parent = os.getppid()
        at_most = self.settings.max_training if self.phase == "train" else None
        until = time.monotonic() + self.settings.idle_seconds
        while not self.shutdown.is_asked and os.getppid() == parent:
            try:
                if self.store.queue.waiting(self.phase):
                    self.shutdown.is_idle = False
                    lease = self.store.queue.claim(self.phase, process_id(), at_most=at_most)
                    if lease is not None:
                        return lease
            except TailorError as error:
                sys.stderr.write(f"{error.message}\n")
            self.shutdown.is_idle = True
            if time.monotonic() > until:
                return None
            time.sleep(POLL_SECONDS)
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker."""
    faulthandler.enable()
    shutdown = Shutdown()
    shutdown.is_idle = True
    shutdown.listen()
    home, phase, settings = _parse(arguments)
    store = Store.open(home, database_url=os.environ.get(DATABASE_VARIABLE))
    try:
        return Worker(store=store, settings=settings, shutdown=shutdown, phase=phase).run()
    finally:
        store.close()


def _parse(arguments: Sequence[str] | None) -> tuple[Path, ClaimPhase, WorkerSettings]:
    default = WorkerSettings()
    parser = argparse.ArgumentParser(prog="python -m tailor.jobs.worker", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--phase", choices=("validate", "train"), required=True)
    parser.add_argument("--organization", default=default.organization)
    parser.add_argument("--threads", type=int, default=physical_cores())
    parser.add_argument("--save-every-seconds", type=float, default=default.save_every_seconds)
    parser.add_argument("--idle-seconds", type=float, default=default.idle_seconds)
    parser.add_argument("--max-training", type=int, default=default.max_training)
    parser.add_argument("--device", help="auto, cpu, cuda or cuda:N (default: $TAILOR_DEVICE, else auto)")
    given = parser.parse_args(arguments)
    if given.device is not None:
        os.environ[DEVICE_VARIABLE] = given.device  # before torch is there to read it
    settings = WorkerSettings(
        organization=given.organization,
        num_threads=given.threads,
        save_every_seconds=given.save_every_seconds,
        idle_seconds=given.idle_seconds,
        max_training=given.max_training,
    )
    return given.home, given.phase, settings


if __name__ == "__main__":
    sys.exit(main())
