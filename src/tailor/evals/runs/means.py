"""What a run may use, and how long it waits for those who are busy."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from tailor.errors import RateLimited, Unavailable
from tailor.evals.runs.judging import Complete
from tailor.grading import Embed, RunPython
from tailor.store import Store

Result = TypeVar("Result")

MAX_ASKS: Final = 16
"""Questions of one run under way at once."""
MAX_FAILURES: Final = 6
"""In a row, of a model that should be there; one that is busy may say so as often as it likes."""
_PATIENCE_SECONDS: Final = 3600.0
_MAX_WAIT_SECONDS: Final = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Means:
    """The rooms that a run works with."""

    store: Store
    complete: Complete
    run_python: RunPython
    embed_for: Callable[[str], Embed | None] = lambda _: None
    """What turns a tenant's texts into vectors, where there is a model for it."""


@dataclass(kw_only=True, slots=True)
class Patience:
    """Asks again whoever says to come back later; until then no question of the run goes there."""

    max_asks: int = MAX_ASKS
    _turns: asyncio.Semaphore = field(init=False)
    _closed_until: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._turns = asyncio.Semaphore(self.max_asks)

    async def ask(self, model: str, action: Callable[[], Awaitable[Result]]) -> Result:
        """What `action` gives, however often it must be tried; its last error when patience is at its end."""
        begun_at = time.monotonic()
        num_failures = 0
        while True:
            await self._wait(model)
            try:
                async with self._turns:
                    return await action()
            except (RateLimited, Unavailable) as error:
                num_failures += isinstance(error, Unavailable)
                if num_failures >= MAX_FAILURES or time.monotonic() - begun_at > _PATIENCE_SECONDS:
                    raise
                seconds = error.retry_after_seconds or min(2.0**num_failures, _MAX_WAIT_SECONDS)
                until = time.monotonic() + seconds
                self._closed_until[model] = max(until, self._closed_until.get(model, 0.0))

    async def _wait(self, model: str) -> None:
        while (seconds := self._closed_until.get(model, 0.0) - time.monotonic()) > 0:
            # Not all at once when it opens again.
            await asyncio.sleep(seconds * random.uniform(1.0, 1.25))  # noqa: S311 - jitter, not a secret
