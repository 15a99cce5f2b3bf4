"""When a job will be done, by what its steps have taken so far."""

from __future__ import annotations

import time
from collections.abc import Callable

_FIRST_STEPS = 2
"""The first steps warm caches up and say little."""


class Forecast:
    """Measures whole steps: validation, saves and checkpoints are in the average, as they are in the wait."""

    def __init__(
        self,
        *,
        total_steps: int,
        first_step: int,
        steps_after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`steps_after`: what comes after the last step, in steps' worth of time."""
        self._total_steps = total_steps + steps_after
        self._step = first_step
        self._first_step = first_step
        self._clock = clock
        self._begun_at = clock()
        self._measured_from: tuple[int, float] | None = None

    def step_done(self, step: int) -> None:
        """Another step, with everything around it, is over."""
        self._step = step
        if self._measured_from is None and step - self._first_step >= _FIRST_STEPS:
            self._measured_from = (step, self._clock())

    @property
    def seconds_per_step(self) -> float:
        """Mean so far."""
        step, begun_at = self._measured_from or (self._first_step, self._begun_at)
        if self._step == step:
            step, begun_at = self._first_step, self._begun_at
        return (self._clock() - begun_at) / max(1, self._step - step)

    def finish_at(self) -> int | None:
        """Unix seconds of the expected end; None while too little is known."""
        if self._measured_from is None:
            return None
        return int(time.time() + (self._total_steps - self._step) * self.seconds_per_step)
