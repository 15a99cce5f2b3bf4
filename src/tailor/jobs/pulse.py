"""The worker's sign of life, and its ear: beats while the work moves, hears what is wanted of it.

A thread of its own writes the heartbeat, because a single step of a large model can take longer than the
reaper's patience. It only beats while the work itself has moved within its own patience: a hung worker
falls silent and loses the job (reliability 2.3).
"""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Literal

from tailor.errors import TailorError
from tailor.jobs.shutdown import Shutdown
from tailor.store import JobPhase, Lease, LeaseLost

POLL_SECONDS = 0.5
BEAT_SECONDS = 5.0
STEP_PATIENCE_SECONDS = 120.0
"""The work must move at least this often."""
BLOCK_PATIENCE_SECONDS = 900.0
"""The same while a large model is loaded or written, which cannot be watched from within."""

Reason = Literal["pause", "shutdown"]


class Interrupted(Exception):
    """The work stops here, unfinished, because somebody asked for it; whatever is needed is saved."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class Pulse:
    """Between one worker's work and its lease."""

    def __init__(self, lease: Lease, shutdown: Shutdown) -> None:
        self._lease = lease
        self._shutdown = shutdown
        self._moved_at = time.monotonic()
        self._patience_seconds = BLOCK_PATIENCE_SECONDS
        self._pause_wanted = False
        self._is_lost = False
        self._ended = threading.Event()
        self._estimated_finish: int | None = None
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=10.0)

    def enter(self, phase: JobPhase, *, patience_seconds: float = STEP_PATIENCE_SECONDS) -> None:
        """Begin a phase, whose work moves at least every `patience_seconds`; raises LeaseLost."""
        self._patience_seconds = patience_seconds
        self.tick()
        self._lease.heartbeat(phase=phase)

    def expect(self, *, estimated_finish: int | None) -> None:
        """What the next heartbeat says about the end, in unix seconds."""
        self._estimated_finish = estimated_finish

    def be_patient(self, seconds: float) -> None:
        """From now on the work moves at least this often."""
        self._patience_seconds = max(STEP_PATIENCE_SECONDS, seconds)

    def tick(self) -> None:
        """The work has moved.

        Raises:
            LeaseLost: the job is no longer ours.
            Interrupted: a shutdown cannot wait for a better moment.
        """
        self._moved_at = time.monotonic()
        if self._is_lost:
            raise LeaseLost(f"The lease on job {self._lease.job_id} is no longer held.")
        if self._shutdown.is_urgent:
            raise Interrupted("shutdown")

    def stop_if_asked(self) -> None:
        """The work has moved, and this is a good moment to stop: raises Interrupted if somebody wants it."""
        self.tick()
        if (reason := self.interruption) is not None:
            raise Interrupted(reason)

    @property
    def interruption(self) -> Reason | None:
        """Why to stop at the next good moment."""
        if self._pause_wanted:
            return "pause"
        return "shutdown" if self._shutdown.is_asked else None

    def _run(self) -> None:
        beaten_at = time.monotonic()
        while not self._ended.wait(POLL_SECONDS):
            now = time.monotonic()
            is_due = now - beaten_at >= BEAT_SECONDS and now - self._moved_at < self._patience_seconds
            try:
                if is_due:
                    wanted = self._lease.heartbeat(estimated_finish=self._estimated_finish)
                    beaten_at = now
                    self._pause_wanted = wanted == "pause"
                else:
                    found = self._lease.wanted()
                    self._pause_wanted = found == "pause"
                    self._is_lost = found == "stop"
            except LeaseLost:
                self._is_lost = True
            except TailorError:
                continue  # A busy database or a full disk: the work itself meets it if it lasts.
            if self._is_lost:
                return
