"""How fast the engine is."""

from __future__ import annotations

import time


class Meter:
    """Recent speed, for health and for telling callers when to come back."""

    def __init__(self) -> None:
        self.tokens_per_second = 0.0
        self._seconds_per_answer = 1.0
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
        """Note how long an answer held its slot."""
        self._seconds_per_answer += 0.1 * (seconds - self._seconds_per_answer)

    def seconds_to_start(self, num_waiting: int, num_slots: int) -> float:
        """How long until so many answers have got a slot, when all slots are taken."""
        return max(num_waiting, 0) * self._seconds_per_answer / num_slots
