"""The engine's turns: let requests in, step every loaded model, hand out tokens."""

from __future__ import annotations

import logging
import time
from collections import Counter

from tailor.errors import Internal, InvalidRequest, TailorError
from tailor.inference.admission import EngineLimits, FairQueue, Pending
from tailor.inference.answer import make_answers
from tailor.inference.meter import Meter
from tailor.inference.residency import Residency
from tailor.inference.runner import Runner

_log = logging.getLogger(__name__)


class Schedule:
    """The requests that had their turn, on their way through the models. Lives on one thread."""

    def __init__(self, *, queue: FairQueue, residency: Residency, limits: EngineLimits, meter: Meter) -> None:
        self._queue = queue
        self._residency = residency
        self._limits = limits
        self._meter = meter
        self._parked: list[Pending] = []  # had their turn; wait for weights or for slots
        self._running: Counter[str] = Counter()  # answers by tenant
        self.num_running = 0
        """Answers being written."""

        self.last_token_at: float | None = None
        """Monotonic time of the last token or, if later, of when answers began to run."""

        self.progress = 0
        """Turns in which a model ran, or in which none had anything to do; stands still when stuck."""

    def turn(self) -> bool:
        """Let in who may come, give every answer a token; False if there was nothing to do."""
        self._drop_lost(time.monotonic())
        self._admit()
        busy = [runner for runner in self._residency.runners if any(runner.answers)]
        worked = [self._step(runner) for runner in busy]
        if any(worked) or not busy:
            self.progress += 1
        return any(worked)

    def end_everything(self, error: TailorError) -> None:
        """End all requests, wherever they are."""
        for runner in self._residency.runners:
            for pending in {answer.pending for answer in runner.answers}:
                self._end(pending, error)
        for pending in self._parked:
            self._refuse(pending, error)
        self._parked = []
        for pending in self._queue:
            self._queue.remove(pending)
            pending.generation.fail(error)

    def _step(self, runner: Runner) -> bool:
        """Run a model once; False if it had answers and could do nothing for them."""
        try:
            tokens = runner.step()
        except Exception:
            _log.exception("the model failed; its running answers are lost")
            for pending in {answer.pending for answer in runner.answers}:
                self._end(pending, Internal("the model failed while answering"))
            return True
        if tokens is None:
            return False
        if tokens:
            self.last_token_at = time.monotonic()
            self._meter.count(len(tokens), self.last_token_at)
        for answer, sampled in tokens:
            if answer.pending.num_open == 0:
                continue  # another answer to the same request has failed just now
            if not sampled.is_finite:
                self._end(answer.pending, Internal("the model's output is not a number"))
            elif (last := answer.accept(sampled)) is not None:
                runner.remove(answer)
                self._release(answer.pending, 1)
                answer.pending.generation.put(last)
        return True

    def _admit(self) -> None:
        """Give slots to requests whose weights are there, by turns; the others wait for theirs."""
        self._residency.turn(is_idle=self.num_running == 0)
        self._parked = [pending for pending in self._parked if not self._settle(pending)]
        while self.num_running < self._limits.max_running and not any(
            pending.lease is not None and pending.lease.is_ready for pending in self._parked
        ):
            pending = self._queue.pop(self._running)
            if pending is None:
                break
            pending.lease = self._residency.reserve(pending.request.model)
            if not self._settle(pending):
                self._parked.append(pending)
        if self._parked:
            self._residency.turn(is_idle=self.num_running == 0)

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
        if self.num_running + pending.request.n > self._limits.max_running:
            return False
        answer = make_answers(pending, table=runner.table, stop_ids=runner.stop_ids, adapter=lease.adapter)
        try:
            runner.check(answer)
        except InvalidRequest as error:
            self._refuse(pending, error)
            return True
        self._queue.leave(pending)
        pending.started_at = time.monotonic()
        pending.num_open = pending.request.n
        self._running[pending.request.tenant] += pending.num_open
        if not self.num_running:
            self.last_token_at = pending.started_at
        self.num_running += pending.num_open
        runner.start(answer)
        return True

    def _drop_lost(self, now: float) -> None:
        """End what was cancelled, is too late or is not read."""
        for pending in list(self._parked):
            error = pending.loss(now)
            if error is not None:
                self._parked.remove(pending)
                self._refuse(pending, error)
        for pending in self._queue:
            error = pending.loss(now)
            if error is not None:
                self._queue.remove(pending)
                pending.generation.fail(error)
        for runner in self._residency.runners:
            for pending in {answer.pending for answer in runner.answers}:
                error = pending.loss(now)
                if error is not None:
                    self._end(pending, error)

    def _refuse(self, pending: Pending, error: TailorError) -> None:
        """A request that had its turn ends before it starts."""
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
        self.num_running -= num_answers
        self._running[pending.request.tenant] -= num_answers
        if not self._running[pending.request.tenant]:
            del self._running[pending.request.tenant]
        if not pending.num_open and pending.lease is not None:
            self._residency.release(pending.lease)
            # Alone an answer is quick; what those who wait want to know is how long one takes in the crowd.
            if self._queue.num_requests:
                self._meter.finished(time.monotonic() - pending.started_at)
