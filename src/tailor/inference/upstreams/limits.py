"""How much may be asked of an upstream: the operator's limits, and what the upstream itself has said."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tailor.errors import RateLimited

_BURST: Final = 1 / 6
"""Of a minute's allowance that may go at once: what a window of ten seconds holds."""
_MAX_WAIT_SECONDS: Final = 120.0


class Bucket:
    """An allowance that fills up evenly. It may be overdrawn: what an answer costs is known afterwards."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._rate = per_minute / 60
        self._most = max(1.0, per_minute * _BURST)
        self._clock = clock
        self._level = self._most
        self._seen_at = clock()

    def take(self, amount: float) -> None:
        """Use some of it."""
        self._fill()
        self._level -= amount

    def seconds_until(self, amount: float) -> float:
        """How long until there is that much."""
        self._fill()
        return max(0.0, (min(amount, self._most) - self._level) / self._rate)

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self._most, self._level + (now - self._seen_at) * self._rate)
        self._seen_at = now


class Allowance:
    """What may be asked of one upstream now. For one thread."""

    def __init__(
        self,
        name: str,
        *,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._clock = clock
        self._requests = None if requests_per_minute is None else Bucket(requests_per_minute, clock)
        self._tokens = None if tokens_per_minute is None else Bucket(tokens_per_minute, clock)
        self._closed_until = 0.0

    def admit(self) -> None:
        """Count one request; raises RateLimited, with the time to wait, when it may not be made now."""
        waits = [self._closed_until - self._clock()]
        if self._requests is not None:
            waits.append(self._requests.seconds_until(1))
        if self._tokens is not None:
            waits.append(self._tokens.seconds_until(1))
        if (wait := max(waits)) > 0:
            raise RateLimited(
                f"The upstream {self._name} takes no more requests for the moment.",
                code="upstream_rate_limit",
                remedy="Send the request again after the time in Retry-After.",
                retry_after_seconds=wait,
            )
        if self._requests is not None:
            self._requests.take(1)

    def spend(self, tokens: int) -> None:
        """Count the tokens of an answer."""
        if self._tokens is not None:
            self._tokens.take(tokens)

    def close_for(self, seconds: float) -> None:
        """The upstream has said to come back later: until then it is left alone."""
        until = self._clock() + min(seconds, _MAX_WAIT_SECONDS)
        self._closed_until = max(self._closed_until, until)
