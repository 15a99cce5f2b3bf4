"""Answers written on the caller's own thread, for training on them.

What the engine does for callers, without anything that depends on time: requests come in in their order,
so the same requests to the same weights give the same answers to the last bit. And each answer comes with
every token that was drawn, those without text among them.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tailor.errors import Internal
from tailor.inference.admission import EngineLimits, Pending, max_length_of
from tailor.inference.answer import Answer, make_answers
from tailor.inference.cache import ByteBudget
from tailor.inference.engine import GenerationChunk, GenerationRequest, ServedModel
from tailor.inference.runner import Runner
from tailor.inference.stream import Generation

_DEFAULT_LIMITS = EngineLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenAnswer:
    """One answer, as it was drawn."""

    token_ids: tuple[int, ...]
    """Every token, the one that ended it among them."""

    text: str
    """As a caller of the engine would have got it."""

    is_complete: bool
    """False if it was cut off at its last token."""


class Writer:
    """One model at work. Its weights may be changed between two calls of `write`."""

    def __init__(
        self, served: ServedModel, *, context_length: int, limits: EngineLimits = _DEFAULT_LIMITS
    ) -> None:
        """Takes over the modules of `served`, as the engine does; the weights stay whose they are."""
        self._served, self._context_length, self._limits = served, context_length, limits

    def write(
        self, requests: Sequence[GenerationRequest], tick: Callable[[], None] = lambda: None
    ) -> list[tuple[WrittenAnswer, ...]]:
        """The `n` answers to each request; `tick` is called before each run of the model, and may raise.

        Raises:
            InvalidRequest: a request does not fit the context.
            Internal: the model's output is not a number.
        """
        # A new one each time: nothing that was written before can change what is written now.
        runner = Runner(
            self._served,
            context_length=self._context_length,
            cache_budget=ByteBudget(self._limits.cache_bytes),
            max_tokens_per_step=self._limits.max_tokens_per_step,
        )
        pages = {page.pending: page for page in (_Page(each, self._context_length) for each in requests)}
        waiting = deque(pages.values())
        num_running = 0
        while waiting or num_running:
            while waiting and (not num_running or num_running + waiting[0].num <= self._limits.max_running):
                num_running += waiting[0].num
                waiting.popleft().begin(runner)
            tick()
            for answer, sampled in runner.step() or ():
                if not sampled.is_finite:
                    raise Internal("the model's output is not a number, so it cannot be trained on")
                if pages[answer.pending].is_done(answer, sampled.token_id, answer.accept(sampled)):
                    runner.remove(answer)
                    num_running -= 1
        return [page.answers() for page in pages.values()]


class _Page:
    """A request with the answers to it."""

    def __init__(self, request: GenerationRequest, context_length: int) -> None:
        self.num = request.n
        self.pending = Pending(
            request=request,
            generation=Generation(num_choices=request.n, max_chunks=sys.maxsize, on_cancel=lambda: None),
            max_length=max_length_of(request, context_length),
        )
        self._drawn: list[list[int]] = [[] for _ in range(request.n)]

    def begin(self, runner: Runner) -> None:
        """Let the runner work on it."""
        answer = make_answers(self.pending, table=runner.table, stop_ids=runner.stop_ids, adapter=runner.own)
        runner.check(answer)
        runner.start(answer)

    def is_done(self, answer: Answer, token_id: int, last: GenerationChunk | None) -> bool:
        """Note a token; whether it was the answer's last."""
        self._drawn[answer.draw.choice].append(token_id)
        if last is not None:
            self.pending.generation.put(last)
        return last is not None

    def answers(self) -> tuple[WrittenAnswer, ...]:
        """All of them, in their order."""
        whole = [GenerationChunk(choice=choice) for choice in range(self.num)]
        for chunk in self.pending.generation:
            whole[chunk.choice] += chunk
        return tuple(
            WrittenAnswer(token_ids=tuple(ids), text=chunk.text, is_complete=chunk.finish_reason == "stop")
            for ids, chunk in zip(self._drawn, whole, strict=True)
        )
