"""One answer in the making."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable

from tailor.inference.adapters import Adapter
from tailor.inference.admission import Pending
from tailor.inference.cache import Occupant
from tailor.inference.engine import Candidate, FinishReason, GenerationChunk, TokenLogprob
from tailor.inference.sampling import Draw, Sampled
from tailor.inference.text import Released, TextStream
from tailor.models import TokenTable

_ORDER = itertools.count()


class Answer(Occupant):
    """A prompt and what has been written so far, with its place in the cache."""

    def __init__(
        self,
        pending: Pending,
        *,
        choice: int,
        table: TokenTable,
        stop_ids: Iterable[int],
        adapter: Adapter | None,
        seed: int,
    ) -> None:
        request = pending.request
        self.pending = pending
        self.adapter = adapter
        self.num_prefix = adapter.num_prefix_tokens if adapter is not None else 0
        """First places in the cache that trained keys and values take; the ids there only hold them."""

        self.ids = [0] * self.num_prefix + list(request.prompt_ids)
        self.max_length = pending.max_length + self.num_prefix
        self.order = next(_ORDER)
        """Older answers have smaller numbers."""

        self.siblings: list[Answer] = []
        """Other answers to the same prompt, waiting for this one to read it."""

        self._counts: dict[int, int] = {}
        self.draw = Draw(parameters=request.parameters, seed=seed, choice=choice, counts=self._counts)
        self._table = table
        self._text = TextStream(table, request.parameters.stop)
        self._stop_ids = frozenset((*stop_ids, *request.stop_ids))
        self._is_penalised = bool(request.parameters.presence_penalty or request.parameters.frequency_penalty)

    @property
    def num_unread(self) -> int:
        """Tokens of the prompt that the model has still to see; 1 while decoding."""
        return len(self.ids) - self.num_cached

    def accept(self, sampled: Sampled) -> GenerationChunk | None:
        """Take the next token and hand over what may be shown; returns the last chunk once complete.

        The last chunk is for the caller to hand over, after it has freed the answer's place: whoever
        reads the end finds the slot free.
        """
        self.draw.index += 1
        is_end = sampled.token_id in self._stop_ids
        if not is_end:
            self.ids.append(sampled.token_id)
            if self._is_penalised:
                self._counts[sampled.token_id] = self._counts.get(sampled.token_id, 0) + 1
            released = self._text.push(sampled.token_id, self._describe(sampled))
            if released.token_ids or released.text:
                self.pending.generation.put(self._chunk(released))
        if is_end or self._text.is_stopped:
            return self._chunk(self._text.finish(), "stop")
        if len(self.ids) >= self.max_length:
            return self._chunk(self._text.finish(), "length")
        return None

    def _chunk(self, released: Released, reason: FinishReason | None = None) -> GenerationChunk:
        return GenerationChunk(
            choice=self.draw.choice,
            text=released.text,
            token_ids=released.token_ids,
            logprobs=released.logprobs,
            finish_reason=reason,
            num_tokens=self.draw.index if reason else 0,
        )

    def _describe(self, sampled: Sampled) -> TokenLogprob | None:
        if sampled.logprob is None:
            return None
        spell = self._table.bytes_of
        return TokenLogprob(
            token_id=sampled.token_id,
            bytes=spell(sampled.token_id),
            logprob=sampled.logprob,
            top=tuple(
                Candidate(token_id=token_id, bytes=spell(token_id), logprob=logprob)
                for token_id, logprob in sampled.top
            ),
        )


def make_answers(
    pending: Pending, *, table: TokenTable, stop_ids: Iterable[int], adapter: Adapter | None
) -> Answer:
    """All answers that a request asks for: the first, which reads the prompt, with its siblings."""
    seed = pending.request.parameters.seed
    seed = secrets.randbits(63) if seed is None else seed
    first, *siblings = (
        Answer(pending, choice=choice, table=table, stop_ids=stop_ids, adapter=adapter, seed=seed)
        for choice in range(pending.request.n)
    )
    first.siblings = siblings
    return first
