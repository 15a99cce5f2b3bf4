"""SIGTERM: a wish to stop soon, with a little time to save; the second one means now."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

EXIT_UNFINISHED = 75
"""EX_TEMPFAIL: the job is back in the queue and wants another worker."""
GRACE_SECONDS = 25.0


class Shutdown:
    """Whether somebody has asked this process to stop."""

    def __init__(self, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._asked_at: float | None = None
        self.is_idle = False
        """There is nothing to save: a signal ends the process at once."""

    def listen(self) -> None:
        """Take SIGTERM and SIGINT from now on."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def ask(self) -> None:
        """As if a signal had come."""
        self._asked_at = self._asked_at or time.monotonic()

    @property
    def is_asked(self) -> bool:
        """Whether to stop at the next good moment."""
        return self._asked_at is not None

    @property
    def is_urgent(self) -> bool:
        """Whether the grace is nearly over, so that there is no waiting for the next good moment."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > 0.8 * self._grace_seconds

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked or self.is_idle:
            os._exit(EXIT_UNFINISHED)
        self.ask()
