"""The embedded engine: one thread that lets requests in, steps every loaded model and hands out tokens."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from threading import Condition, Thread

from tailor.errors import Internal, InvalidRequest, RateLimited, TailorError, Unavailable
from tailor.inference.admission import EngineLimits, FairQueue, Pending, max_length_of
from tailor.inference.answer import make_answers
from tailor.inference.cache import ByteBudget
from tailor.inference.engine import (
    EngineHealth,
    GenerationChunk,
    GenerationRequest,
    GenerationResult,
    ModelKey,
    ModelSource,
)
from tailor.inference.meter import Meter
from tailor.inference.residency import Residency
from tailor.inference.runner import Runner
from tailor.inference.stream import Generation

_log = logging.getLogger(__name__)
_DEFAULT_LIMITS = EngineLimits()


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
        self._queue = FairQueue(limits)
        self._parked: list[Pending] = []  # had their turn; wait for weights or for slots
        self._running: Counter[str] = Counter()  # answers by tenant
        self._num_running = 0
        self._wake = Condition()
        self._is_poked = False
        self._closing_at: float | None = None
        self._thread: Thread | None = None
        self._last_token_at: float | None = None
        self._meter = Meter()

    def start(self) -> None:
        """Begin to answer."""
        self._thread = Thread(target=self._work, name="tailor-engine", daemon=True)
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
                        if self._closing_at is not None:
                            raise
                        break
                    waiting.pop()
                for index in _ended(running):
                    results[index] = _result(requests[index], running.pop(index))
        finally:
            for generation in running.values():
                generation.cancel()
        return [results[index] for index in range(len(requests))]

    def health(self) -> EngineHealth:
        """How the engine is doing; cheap, from any thread."""
        last = self._last_token_at
        with self._wake:
            queued, prompt_tokens = self._queue.num_requests, self._queue.num_prompt_tokens
        return EngineHealth(
            running=self._num_running,
            queued=queued,
            queued_prompt_tokens=prompt_tokens,
            seconds_since_last_token=None if last is None else time.monotonic() - last,
            tokens_per_second=self._meter.tokens_per_second,
            models=self._residency.keys(adapters=False),
            adapters=self._residency.keys(adapters=True),
            weights_bytes=self._residency.num_bytes,
            cache_bytes=self._cache_budget.used_bytes,
        )

    def close(self, *, timeout_seconds: float = 0.0) -> None:
        """Take nothing more, give running answers that long, then end the rest with Unavailable."""
        with self._wake:
            self._closing_at = time.monotonic() + timeout_seconds
        self._poke()
        if self._thread is not None:
            self._thread.join()
        else:
            self._end_everything(_closing())
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
            if self._closing_at is not None:
                raise _closing()
            retry_after = self._meter.seconds_until_slot(self._queue.num_requests, self._limits.max_running)
            self._queue.push(pending, retry_after_seconds=retry_after)
        self._poke()
        return generation

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

    def _work(self) -> None:
        """The thread: turns until closed."""
        while self._closing_at is None or (self._num_running and time.monotonic() < self._closing_at):
            try:
                has_worked = self._turn()
            except Exception:
                _log.exception("the engine stumbled; running answers are lost")
                self._end_everything(Internal("the engine failed while answering"))
                continue
            if not has_worked:
                with self._wake:
                    # Also wakes by itself: waiting requests have deadlines, postponed loads a chance.
                    self._wake.wait_for(lambda: self._is_poked, timeout=0.1)
        self._end_everything(_closing())

    def _turn(self) -> bool:
        """Let in who may come, give every answer a token; False if there was nothing to do."""
        with self._wake:
            self._is_poked = False
        now = time.monotonic()
        self._drop_lost(now)
        self._admit()
        has_worked = False
        for runner in self._residency.runners:
            if any(runner.answers):
                has_worked = True
                self._step(runner)
        return has_worked

    def _step(self, runner: Runner) -> None:
        try:
            tokens = runner.step()
        except Exception:
            _log.exception("the model failed; its running answers are lost")
            for pending in {answer.pending for answer in runner.answers}:
                self._end(pending, Internal("the model failed while answering"))
            return
        if tokens:
            self._last_token_at = time.monotonic()
            self._meter.count(len(tokens), self._last_token_at)
        for answer, sampled in tokens:
            if answer.pending.num_open == 0:
                continue  # another answer to the same request has failed just now
            if not sampled.is_finite:
                self._end(answer.pending, Internal("the model's output is not a number"))
            elif (last := answer.accept(sampled)) is not None:
                runner.remove(answer)
                self._release(answer.pending, 1)
                answer.pending.generation.put(last)

    def _admit(self) -> None:
        """Give slots to requests whose weights are there, by turns; the others wait for theirs."""
        self._residency.turn(is_idle=self._num_running == 0)
        self._parked = [pending for pending in self._parked if not self._settle(pending)]
        while self._num_running < self._limits.max_running and not any(
            pending.lease is not None and pending.lease.is_ready for pending in self._parked
        ):
            with self._wake:
                pending = self._queue.pop(self._running)
            if pending is None:
                break
            pending.lease = self._residency.reserve(pending.request.model)
            if not self._settle(pending):
                self._parked.append(pending)
        if self._parked:
            self._residency.turn(is_idle=self._num_running == 0)

    def _settle(self, pending: Pending) -> bool:
        """Start or fail a request that had its turn; False if it has to wait on."""
        lease = pending.lease
        if lease is None:
            return False
        if lease.error is not None:
            self._refuse(pending, lease.error)
            return True
        runner = lease.runner
        if not lease.is_ready or runner is None:
            return False
        if self._num_running + pending.request.n > self._limits.max_running:
            return False
        answer = make_answers(pending, table=runner.table, stop_ids=runner.stop_ids, adapter=lease.adapter)
        try:
            runner.check(answer)
        except InvalidRequest as error:
            self._refuse(pending, error)
            return True
        with self._wake:
            self._queue.leave(pending)
        pending.num_open = pending.request.n
        self._running[pending.request.tenant] += pending.num_open
        if not self._num_running:  # what counts as stuck starts now
            self._last_token_at = time.monotonic()
        self._num_running += pending.num_open
        runner.start(answer)
        return True

    def _drop_lost(self, now: float) -> None:
        """End what was cancelled, is too late or is not read."""
        for pending in list(self._parked):
            error = pending.loss(now)
            if error is not None:
                self._parked.remove(pending)
                self._refuse(pending, error)
        with self._wake:
            lost = [(pending, error) for pending in self._queue if (error := pending.loss(now))]
            for pending, _ in lost:
                self._queue.remove(pending)
        for pending, error in lost:
            pending.generation.fail(error)
        for runner in self._residency.runners:
            for pending in {answer.pending for answer in runner.answers}:
                error = pending.loss(now)
                if error is not None:
                    self._end(pending, error)

    def _refuse(self, pending: Pending, error: TailorError) -> None:
        """A request that had its turn ends before it starts."""
        with self._wake:
            self._queue.leave(pending)
        if pending.lease is not None:
            self._residency.release(pending.lease)
        pending.generation.fail(error)

    def _end(self, pending: Pending, error: TailorError) -> None:
        """A running request ends with an error: all its answers go."""
        runner = pending.lease.runner if pending.lease is not None else None
        if runner is not None:
            for answer in [answer for answer in runner.answers if answer.pending is pending]:
                runner.remove(answer)
        self._release(pending, pending.num_open)
        pending.generation.fail(error)

    def _release(self, pending: Pending, num_answers: int) -> None:
        pending.num_open -= num_answers
        self._num_running -= num_answers
        self._running[pending.request.tenant] -= num_answers
        if not self._running[pending.request.tenant]:
            del self._running[pending.request.tenant]
        if not pending.num_open and pending.lease is not None:
            self._residency.release(pending.lease)
            self._meter.finished(time.monotonic() - pending.generation.submitted_at)

    def _end_everything(self, error: TailorError) -> None:
        for runner in self._residency.runners:
            for pending in {answer.pending for answer in runner.answers}:
                self._end(pending, error)
        for pending in self._parked:
            self._refuse(pending, error)
        self._parked = []
        with self._wake:
            waiting = list(self._queue)
            for pending in waiting:
                self._queue.remove(pending)
        for pending in waiting:
            pending.generation.fail(error)


def _closing() -> Unavailable:
    return Unavailable("the server is shutting down", retry_after_seconds=2.0)


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
