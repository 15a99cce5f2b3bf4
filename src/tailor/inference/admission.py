"""Who comes in: bounded queues, tenants by turns, and what each may still send.

A request counts as queued until it starts, also while its model loads. The tenant with the fewest
running answers goes first, then the one that has waited longest for a turn.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Lock

from tailor.errors import InvalidRequest, RateLimited, TailorError, Unavailable
from tailor.inference.engine import GenerationRequest, Headroom
from tailor.inference.residency import Lease
from tailor.inference.stream import Generation

MAX_RETRY_SECONDS = 30.0
"""Nobody is sent away for longer: estimates of a farther future are worth little."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineLimits:
    """How much an engine takes on."""

    max_running: int = 64
    """Answers written at once."""

    max_queued_requests: int = 256
    max_queued_requests_per_tenant: int = 128
    max_queued_prompt_tokens: int = 262_144

    max_tokens_per_step: int = 512
    """Tokens in one run of the model: bounds how long reading prompts delays running answers."""

    weights_bytes: int = 8 << 30
    """Memory for models and adapters that stay loaded; one that is needed is loaded even beyond it."""

    cache_bytes: int = 1 << 30
    """Memory for keys and values of all running answers."""

    max_unread_chunks: int = 256
    unread_seconds: float = 30.0
    """How long a reader may leave its queue full before its request ends."""


@dataclass(kw_only=True, slots=True, eq=False)
class Pending:
    """A request from submission to its last answer."""

    request: GenerationRequest
    generation: Generation
    max_length: int
    """Prompt and answer together."""

    unread_seconds: float = math.inf
    lease: Lease | None = None
    """The weights held for it, from its turn on."""

    num_open: int = 0
    """Answers being written."""

    started_at: float = 0.0
    """Monotonic time at which it got its slots."""

    def loss(self, now: float) -> TailorError | None:
        """Why the request should not go on, if so."""
        age = now - self.generation.submitted_at
        if self.generation.is_cancelled:
            return Unavailable("the request was cancelled", code="cancelled")
        if age > self.request.deadline_seconds:
            return Unavailable(f"no answer within {self.request.deadline_seconds:g} seconds", code="timeout")
        if not self.num_open and age > self.request.queue_seconds:
            seconds = self.request.queue_seconds
            return Unavailable(f"no free slot within {seconds:g} seconds", retry_after_seconds=5.0)
        if self.generation.seconds_full(now) > self.unread_seconds:
            return Unavailable(f"the answer was not read for {self.unread_seconds:g} seconds")
        return None


class FairQueue:
    """The requests that wait; safe to use from any thread."""

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._lock = Lock()
        self._tenants: dict[str, deque[Pending]] = {}
        self._waiting: dict[str, int] = {}
        self.num_requests = 0
        self.num_prompt_tokens = 0

    def push(self, pending: Pending, *, seconds_until_empty: float) -> None:
        """Queue a request; RateLimited or Unavailable when a bound is reached."""
        request, limits = pending.request, self._limits
        come_back_after = min(max(seconds_until_empty, 1.0), MAX_RETRY_SECONDS)
        with self._lock:
            waiting = self._waiting.get(request.tenant, 0)
            if waiting + request.n > limits.max_queued_requests_per_tenant:
                raise RateLimited(
                    f"{waiting} of your requests are waiting already",
                    remedy="Wait for answers before you send more.",
                    retry_after_seconds=come_back_after,
                )
            num_tokens = self.num_prompt_tokens + len(request.prompt_ids)
            is_full = self.num_requests + request.n > limits.max_queued_requests
            if is_full or (self.num_requests and num_tokens > limits.max_queued_prompt_tokens):
                raise Unavailable(
                    "the server has as many requests waiting as it can answer in time",
                    remedy="Try again shortly.",
                    retry_after_seconds=come_back_after,
                )
            self.num_requests += request.n
            self.num_prompt_tokens = num_tokens
            self._waiting[request.tenant] = waiting + request.n
            self._tenants.setdefault(request.tenant, deque()).append(pending)

    def headroom(self, tenant: str, *, seconds_until_empty: float) -> Headroom:
        """What a tenant may still send: its own bound, or what the others have left of everybody's."""
        limits = self._limits
        max_requests = min(limits.max_queued_requests_per_tenant, limits.max_queued_requests)
        with self._lock:
            num_left = min(
                limits.max_queued_requests_per_tenant - self._waiting.get(tenant, 0),
                limits.max_queued_requests - self.num_requests,
            )
            num_tokens_left = max(limits.max_queued_prompt_tokens - self.num_prompt_tokens, 0)
        return Headroom(
            max_requests=max_requests,
            num_requests=num_left,
            seconds_to_all_requests=seconds_until_empty if num_left < max_requests else 0.0,
            max_tokens=limits.max_queued_prompt_tokens,
            num_tokens=num_tokens_left,
            seconds_to_all_tokens=(
                seconds_until_empty if num_tokens_left < limits.max_queued_prompt_tokens else 0.0
            ),
        )

    def pop(self, running: Mapping[str, int]) -> Pending | None:
        """The next request in fairness; it stays counted until `leave`."""
        with self._lock:
            if not self._tenants:
                return None
            # A dict keeps the order of insertion: a tenant that was served goes to the end.
            tenant = min(self._tenants, key=lambda name: running.get(name, 0))
            requests = self._tenants.pop(tenant)
            pending = requests.popleft()
            if requests:
                self._tenants[tenant] = requests
            return pending

    def leave(self, pending: Pending) -> None:
        """The request has started or will never start."""
        request = pending.request
        with self._lock:
            self.num_requests -= request.n
            self.num_prompt_tokens -= len(request.prompt_ids)
            self._waiting[request.tenant] -= request.n
            if not self._waiting[request.tenant]:
                del self._waiting[request.tenant]

    def remove(self, pending: Pending) -> None:
        """Take out a request whose turn has not come."""
        with self._lock:
            requests = self._tenants[pending.request.tenant]
            requests.remove(pending)
            if not requests:
                del self._tenants[pending.request.tenant]
        self.leave(pending)

    def __iter__(self) -> Iterator[Pending]:
        """Those whose turn has not come, as of now."""
        with self._lock:
            return iter([pending for requests in self._tenants.values() for pending in requests])


def max_length_of(request: GenerationRequest, context_length: int) -> int:
    """Tokens of prompt and answer together."""
    num_prompt = len(request.prompt_ids)
    if not num_prompt:
        raise InvalidRequest("the prompt has no tokens", param="messages")
    if len(request.parameters.stop) > 4 or not all(request.parameters.stop):
        raise InvalidRequest("stop takes up to 4 texts, none of them empty", param="stop")
    asked = request.parameters.max_tokens
    wanted = num_prompt + (asked if asked is not None else 1)
    if asked is not None and asked < 1:
        raise InvalidRequest(f"max_tokens must be at least 1, not {asked}", param="max_tokens")
    if wanted > context_length:
        raise InvalidRequest(
            f"This model's maximum context length is {context_length} tokens. However, you requested {wanted}"
            f" tokens ({num_prompt} in the messages, {wanted - num_prompt} in the completion).",
            param="messages",
            code="context_length_exceeded",
            remedy="Shorten the messages or the completion.",
        )
    return context_length if asked is None else wanted
