"""How fast the engine is."""

from __future__ import annotations

import time


class Meter:
    """Recent speed, for health and for telling callers when to come back."""

    def __init__(self) -> None:
        self.tokens_per_second = 0.0
        self._seconds_per_request = 1.0
        self._since = time.monotonic()
        self._num_tokens = 0

    def count(self, num_tokens: int, now: float) -> None:
        """Note tokens; the rate is that of the last whole second in which there were any."""
        self._num_tokens += num_tokens
        elapsed = now - self._since
        if elapsed >= 1.0:
            self.tokens_per_second = self._num_tokens / elapsed
            self._since, self._num_tokens = now, 0

    def finished(self, seconds: float) -> None:
        """Note how long a request took."""
        self._seconds_per_request += 0.1 * (seconds - self._seconds_per_request)

    def seconds_until_slot(self, num_ahead: int, num_slots: int) -> float:
        """A guess, between 1 and 30 seconds."""
        return min(max(self._seconds_per_request * (1 + num_ahead / num_slots), 1.0), 30.0)
