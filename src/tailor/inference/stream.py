"""From the engine's thread to whoever reads: a bounded queue with a synchronous and an asynchronous end.

The engine never waits for a reader. While the queue is full, new text joins the last chunk in it; a reader
that leaves it full for too long loses its request.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from threading import Condition
from typing import TYPE_CHECKING

from tailor.errors import TailorError

if TYPE_CHECKING:
    from tailor.inference.engine import GenerationChunk


class Generation:
    """A request on its way: iterate it (`for` or `async for`) to get its chunks; leaving early cancels it."""

    def __init__(self, *, num_choices: int, max_chunks: int = 256, on_cancel: Callable[[], None]) -> None:
        self.submitted_at = time.monotonic()
        self.first_token_at: float | None = None
        """Monotonic time of the first chunk, for latency."""

        self.ended_at: float | None = None
        self.is_cancelled = False
        self._num_open = num_choices
        self._max_chunks = max_chunks
        self._on_cancel = on_cancel
        self._chunks: deque[GenerationChunk] = deque()
        self._error: TailorError | None = None
        self._full_since: float | None = None
        self._ready = Condition()
        self._wake_reader: Callable[[], None] | None = None

    @property
    def is_ended(self) -> bool:
        """Nothing more will be written: all answers are finished, failed or cancelled."""
        return self.ended_at is not None

    def seconds_full(self, now: float) -> float:
        """How long the reader has left the queue full."""
        return now - self._full_since if self._full_since is not None else 0.0

    def cancel(self) -> None:
        """Stop; the slot is free at the next token."""
        if not self.is_ended and not self.is_cancelled:
            self.is_cancelled = True
            self._on_cancel()

    def put(self, chunk: GenerationChunk) -> None:
        """Engine's end: hand over the next piece; never waits."""
        with self._ready:
            if self.ended_at is not None:
                return  # from an engine that was given up meanwhile
            if self.first_token_at is None:
                self.first_token_at = time.monotonic()
            if chunk.finish_reason:
                self._num_open -= 1
                if self._num_open == 0:
                    self.ended_at = time.monotonic()
            self._append(chunk)
            self._notify()

    def fail(self, error: TailorError) -> None:
        """Engine's end: the reader gets this error after what is already written; the first one counts."""
        with self._ready:
            if self.ended_at is None:
                self._error = error
                self.ended_at = time.monotonic()
                self._notify()

    def __iter__(self) -> Iterator[GenerationChunk]:
        try:
            while True:
                with self._ready:
                    self._ready.wait_for(lambda: self._chunks or self.is_ended)
                    chunks = self._take()
                yield from chunks
                if not chunks:
                    return
        finally:
            self.cancel()

    async def __aiter__(self) -> AsyncIterator[GenerationChunk]:
        loop = asyncio.get_running_loop()
        arrived = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(arrived.set)
            except RuntimeError:  # the reader's loop has been closed
                self.cancel()

        try:
            while True:
                with self._ready:
                    arrived.clear()
                    waiting = not self._chunks and not self.is_ended
                    self._wake_reader = wake if waiting else None
                    chunks = [] if waiting else self._take()
                if waiting:
                    await arrived.wait()
                    continue
                for chunk in chunks:
                    yield chunk
                if not chunks:
                    return
        finally:
            self.cancel()

    def _append(self, chunk: GenerationChunk) -> None:
        last = self._chunks[-1] if len(self._chunks) >= self._max_chunks else None
        if last is None:
            self._chunks.append(chunk)
            return
        self._full_since = self._full_since or time.monotonic()
        # A chunk belongs to one answer: with several, the newest of the same answer takes the text.
        for index in range(len(self._chunks) - 1, -1, -1):
            if self._chunks[index].choice == chunk.choice:
                self._chunks[index] += chunk
                return
        self._chunks.append(chunk)

    def _take(self) -> list[GenerationChunk]:
        """All chunks there are; nothing at the end; raises what went wrong once everything is read."""
        chunks = list(self._chunks)
        self._chunks.clear()
        self._full_since = None
        if not chunks and self._error is not None:
            raise self._error
        return chunks

    def _notify(self) -> None:
        self._ready.notify_all()
        if self._wake_reader is not None:
            wake, self._wake_reader = self._wake_reader, None
            wake()
