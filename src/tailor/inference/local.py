"""The embedded engine: a queue, the models in memory, and one thread that does all the work."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from threading import Condition, Thread
from weakref import WeakSet

from tailor.errors import Internal, InvalidRequest, RateLimited, TailorError, Unavailable
from tailor.inference.admission import EngineLimits, FairQueue, Pending, max_length_of
from tailor.inference.cache import ByteBudget
from tailor.inference.engine import (
    EngineHealth,
    GenerationChunk,
    GenerationRequest,
    GenerationResult,
    Headroom,
    ModelKey,
    ModelSource,
)
from tailor.inference.meter import Meter
from tailor.inference.residency import Residency
from tailor.inference.runner import Runner
from tailor.inference.schedule import Schedule
from tailor.inference.stream import Generation

_log = logging.getLogger(__name__)
_DEFAULT_LIMITS = EngineLimits()
_FAREWELL_SECONDS = 5.0
"""A thread that does not end within this much longer than it may is taken for stuck, and left behind."""


class LocalEngine:
    """Continuous batching on this machine; implements `Engine`.

    Use as a context manager, or call `start` and `close`. All work happens on its own thread; every public
    method may be called from any other.
    """

    def __init__(self, source: ModelSource, limits: EngineLimits = _DEFAULT_LIMITS) -> None:
        self._source = source
        self._limits = limits
        self._cache_budget = ByteBudget(limits.cache_bytes)
        self._residency = Residency(
            source, self._make_runner, budget_bytes=limits.weights_bytes, wake=self._poke
        )
        self._meter = Meter()
        self._queue = FairQueue(limits)
        self._schedule = Schedule(
            queue=self._queue, residency=self._residency, limits=limits, meter=self._meter
        )
        self._generations: WeakSet[Generation] = WeakSet()
        self._wake = Condition()
        self._is_poked = False
        self._reason: TailorError | None = None  # why nothing more is taken
        self._until = math.inf
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to answer."""
        self._thread = Thread(target=self._run, name="tailor-engine", daemon=True)
        self._thread.start()

    def __enter__(self) -> LocalEngine:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, request: GenerationRequest) -> Generation:
        """Take a request.

        Raises:
            InvalidRequest: it does not fit the model's context, or asks for what cannot be done.
            NotFound: the model's source does not know the key.
            RateLimited: this tenant has too much waiting.
            Unavailable: everybody together has, or the engine is closing.
        """
        return self._submit(request, unread_seconds=self._limits.unread_seconds)

    def generate(self, requests: Sequence[GenerationRequest]) -> list[GenerationResult]:
        """Answer any number of requests, a few more at a time than there are slots."""
        waiting = list(enumerate(requests))[::-1]
        running: dict[int, Generation] = {}
        results: dict[int, GenerationResult] = {}
        most = self._limits.max_running + 8
        try:
            while waiting or running:
                while waiting and sum(requests[index].n for index in running) < most:
                    index, request = waiting[-1]
                    try:
                        patient = replace(request, queue_seconds=math.inf)
                        running[index] = self._submit(patient, unread_seconds=math.inf)
                    except (RateLimited, Unavailable):
                        if self._reason is not None:
                            raise
                        break
                    waiting.pop()
                for index in _ended(running):
                    results[index] = _result(requests[index], running.pop(index))
        finally:
            for generation in running.values():
                generation.cancel()
        return [results[index] for index in range(len(requests))]

    def headroom(self, tenant: str) -> Headroom:
        """What a tenant may still send; cheap, from any thread."""
        return self._queue.headroom(tenant, seconds_until_empty=self._seconds_until_empty())

    def health(self) -> EngineHealth:
        """How the engine is doing; cheap, from any thread."""
        last = self._schedule.last_token_at
        return EngineHealth(
            is_alive=self._thread is not None and self._thread.is_alive(),
            progress=self._schedule.progress,
            running=self._schedule.num_running,
            queued=self._queue.num_requests,
            queued_prompt_tokens=self._queue.num_prompt_tokens,
            seconds_since_last_token=None if last is None else time.monotonic() - last,
            tokens_per_second=self._meter.tokens_per_second,
            models=self._residency.keys(adapters=False),
            adapters=self._residency.keys(adapters=True),
            weights_bytes=self._residency.num_bytes,
            cache_bytes=self._cache_budget.used_bytes,
        )

    def close(self, *, timeout_seconds: float = 0.0, reason: TailorError | None = None) -> None:
        """Take nothing more, give running answers that long, then end the rest with `reason`.

        A thread that is stuck is left behind: its requests end all the same, its memory stays with it.
        """
        with self._wake:
            self._until = time.monotonic() + timeout_seconds
            self._reason = self._reason or reason or _closing()
        self._poke()
        if self._thread is not None:
            self._thread.join(timeout_seconds + _FAREWELL_SECONDS)
            if self._thread.is_alive():
                _log.error("the engine's thread is stuck; it is left behind with what it holds")
        self._fail_all(self._reason)
        self._residency.close()

    def _submit(self, request: GenerationRequest, *, unread_seconds: float) -> Generation:
        max_length = max_length_of(request, self._source.facts(request.model).context_length)
        if not 1 <= request.n <= self._limits.max_running:
            raise InvalidRequest(f"n must be 1 to {self._limits.max_running}, not {request.n}", param="n")
        generation = Generation(
            num_choices=request.n, max_chunks=self._limits.max_unread_chunks, on_cancel=self._poke
        )
        pending = Pending(
            request=request, generation=generation, max_length=max_length, unread_seconds=unread_seconds
        )
        with self._wake:
            if self._reason is not None:
                raise self._reason
            self._queue.push(pending, seconds_until_empty=self._seconds_until_empty())
            self._generations.add(generation)
        self._poke()
        return generation

    def _seconds_until_empty(self) -> float:
        """When all that waits will have started, going by the last answers."""
        num_free = self._limits.max_running - self._schedule.num_running
        return self._meter.seconds_to_start(self._queue.num_requests - num_free, self._limits.max_running)

    def _make_runner(self, key: ModelKey) -> Runner:
        return Runner(
            self._source.model(key),
            context_length=self._source.facts(key).context_length,
            cache_budget=self._cache_budget,
            max_tokens_per_step=self._limits.max_tokens_per_step,
        )

    def _poke(self) -> None:
        with self._wake:
            self._is_poked = True
            self._wake.notify_all()

    def _run(self) -> None:
        """The thread. However it ends, nobody is left waiting for an answer."""
        try:
            self._work()
            self._schedule.end_everything(self._reason or _stopped())
        except BaseException:
            _log.exception("the engine's thread has died")
        finally:
            with self._wake:
                self._reason = self._reason or _stopped()
            self._fail_all(self._reason)

    def _work(self) -> None:
        """Turns until closed."""
        while self._reason is None or (self._schedule.num_running and time.monotonic() < self._until):
            with self._wake:
                self._is_poked = False
            try:
                has_worked = self._schedule.turn()
            except Exception:
                _log.exception("the engine stumbled; running answers are lost")
                self._schedule.end_everything(Internal("the engine failed while answering"))
                continue
            if not has_worked:
                with self._wake:
                    # Also wakes by itself: waiting requests have deadlines, postponed loads a chance.
                    self._wake.wait_for(lambda: self._is_poked, timeout=0.1)

    def _fail_all(self, error: TailorError) -> None:
        """End what has not ended, without touching what may be in a stuck thread's hands."""
        with self._wake:
            generations = list(self._generations)
        for generation in generations:
            generation.fail(error)


def _closing() -> Unavailable:
    return Unavailable("the server is shutting down", retry_after_seconds=2.0)


def _stopped() -> Unavailable:
    return Unavailable(
        "the engine has stopped",
        code="engine_stopped",
        remedy="Send the request again in a moment.",
        retry_after_seconds=2.0,
    )


def _ended(running: dict[int, Generation]) -> list[int]:
    """Wait until at least one has ended; which ones have."""
    while running:
        ended = [index for index, generation in running.items() if generation.is_ended]
        if ended:
            return ended
        time.sleep(0.002)
    return []


def _result(request: GenerationRequest, generation: Generation) -> GenerationResult:
    choices = [GenerationChunk(choice=choice) for choice in range(request.n)]
    for chunk in generation:
        choices[chunk.choice] += chunk
    first, end = generation.first_token_at, generation.ended_at
    started = generation.submitted_at
    return GenerationResult(
        choices=tuple(choices),
        num_prompt_tokens=len(request.prompt_ids),
        seconds_to_first_token=(first if first is not None else started) - started,
        seconds=(end if end is not None else started) - started,
    )
