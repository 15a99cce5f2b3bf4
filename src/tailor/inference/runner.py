"""One loaded model and the answers it is writing: a step runs it once over all their new tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from tailor.errors import InvalidRequest
from tailor.inference.adapters import Adapter, Mixture
from tailor.inference.cache import ByteBudget, Cache
from tailor.inference.engine import ServedModel
from tailor.inference.layout import CachedLayout, DecodeSpan, PromptSpan, ShapeProbe
from tailor.inference.sampling import Sampled, sample
from tailor.models import TokenTable
from tailor.models.methods.prefix import prefix_of

if TYPE_CHECKING:
    from tailor.inference.answer import Answer


class Runner:
    """Continuous batching over one model. Answers wait, are read (in pieces), then decode until removed."""

    def __init__(
        self,
        served: ServedModel,
        *,
        context_length: int,
        cache_budget: ByteBudget,
        max_tokens_per_step: int,
    ) -> None:
        self._model = served.model.eval()
        self._max_tokens_per_step = max_tokens_per_step
        self._context_length = context_length
        self.table = TokenTable(served.tokenizer)
        probe = ShapeProbe()
        with torch.inference_mode():
            self._forward(probe, [0], [0], [0])
        self.mixture = Mixture(self._model, probe.shape)
        prefix = prefix_of(self._model)
        self.own = Adapter(prefix=prefix) if prefix else None
        """What answers need that ask for no adapter; a model in training may carry a prefix."""

        self.stop_ids = frozenset(served.stop_ids)
        self.num_bytes = sum(each.nbytes for each in (*self._model.parameters(), *self._model.buffers()))
        self.vocabulary_size = int(self._model.get_output_embeddings().weight.shape[0])
        self.cache = Cache(probe.shape, cache_budget, context_length)
        self._waiting: deque[Answer] = deque()
        self._reading: list[Answer] = []

    @property
    def answers(self) -> Iterator[Answer]:
        """All answers here, also those still waiting for memory or for their sibling."""
        first = [*self._reading, *self._waiting]
        yield from first
        for answer in first:
            yield from answer.siblings
        yield from self._decoding()

    def check(self, answer: Answer) -> None:
        """Raise InvalidRequest for what this model can never do."""
        longest = self.cache.max_tokens()
        # What a prefix takes of the context, the answer has to do without.
        answer.max_length = min(answer.max_length, self._context_length)
        if len(answer.ids) >= answer.max_length:
            raise InvalidRequest(
                f"The prompt leaves no room for an answer: the version's prefix takes {answer.num_prefix} of "
                f"{self._context_length} tokens",
                code="context_length_exceeded",
                remedy="Shorten the prompt.",
            )
        if answer.max_length > longest:
            raise InvalidRequest(
                f"{answer.max_length} tokens do not fit the server's cache, which holds {longest}",
                code="context_length_exceeded",
                remedy="Shorten the prompt, set a lower max_tokens or give the engine more cache memory.",
            )
        biased = answer.pending.request.parameters.logit_bias
        unknown = [token for token in (*biased, *answer.ids) if not 0 <= token < self.vocabulary_size]
        if unknown:
            raise InvalidRequest(
                f"token id {unknown[0]} is not in the model's vocabulary of {self.vocabulary_size}",
                param="logit_bias" if unknown[0] in biased else None,
            )

    def start(self, answer: Answer) -> None:
        """Take on an answer and its siblings."""
        self._waiting.append(answer)

    def remove(self, answer: Answer) -> None:
        """Drop an answer wherever it is, with the siblings that wait for it to read the prompt."""
        for first in (*self._reading, *self._waiting):
            if answer in first.siblings:
                first.siblings.remove(answer)
                return
        if answer in self._reading:
            self._reading.remove(answer)
        elif answer in self._waiting:
            self._waiting.remove(answer)
        with torch.inference_mode():
            self.cache.remove(answer)

    def step(self) -> list[tuple[Answer, Sampled]] | None:
        """Run the model once; the answers that got a token, or None when nothing could be run."""
        with torch.inference_mode():
            return self._step()

    def _step(self) -> list[tuple[Answer, Sampled]] | None:
        self._make_room()
        parts = self._next_parts()
        spans: list[DecodeSpan | PromptSpan] = []
        ids: list[int] = []
        positions: list[int] = []
        adapters: list[tuple[Adapter | None, int]] = []
        owners: list[Answer] = []
        last: list[int] = []  # where in the packed tokens each owner's next token is decided
        for shelf in self.cache.shelves:
            if not shelf.num_decoding:
                continue
            spans.append(DecodeSpan(shelf, len(ids)))
            for answer in cast("list[Answer]", shelf.decoding):
                last.append(len(ids))
                owners.append(answer)
                ids.append(answer.ids[-1])
                positions.append(answer.num_cached)
                adapters.append((answer.adapter, 1))
        num_decoding = len(owners)
        for answer, count in parts:
            spans.append(PromptSpan(answer, len(ids), count))
            ids += answer.ids[answer.num_cached : answer.num_cached + count]
            positions += range(answer.num_cached, answer.num_cached + count)
            adapters.append((answer.adapter, count))
            if count == answer.num_unread:
                owners += [answer, *answer.siblings]
                last += [len(ids) - 1] * (1 + len(answer.siblings))
        if not ids:
            return None
        self.mixture.select(adapters)
        logits_RV = self._forward(CachedLayout(spans), ids, positions, last)
        sampled = sample(logits_RV, [answer.draw for answer in owners]) if owners else []
        for answer in owners[:num_decoding]:
            answer.num_cached += 1
        for answer, count in parts:
            self._advance(answer, count)
        return list(zip(owners, sampled, strict=True))

    def _forward(
        self, layout: CachedLayout | ShapeProbe, ids: list[int], positions: list[int], last: list[int]
    ) -> Tensor:
        """Logits `[R, V]` of the tokens at `last`."""
        device = self._model.device
        logits_1RV: Tensor = self._model(
            input_ids=torch.tensor([ids], device=device),
            position_ids=torch.tensor([positions], device=device),
            use_cache=False,
            layout=layout,
            logits_to_keep=torch.tensor(last, dtype=torch.long, device=device),
        ).logits
        return logits_1RV[0]

    def _decoding(self) -> list[Answer]:
        return [answer for shelf in self.cache.shelves for answer in cast("list[Answer]", shelf.decoding)]

    def _make_room(self) -> None:
        """Rows that are full move on; if memory is short, the youngest answers wait and are read again."""
        full = [answer for answer in self._decoding() if self.cache.is_full(answer)]
        for answer in sorted(full, key=lambda answer: answer.order):
            while answer.shelf is not None and not self.cache.make_longer(answer):
                youngest = max((*self._reading, *self._decoding()), key=lambda other: other.order)
                if youngest in self._reading:
                    self._reading.remove(youngest)
                self.cache.remove(youngest)
                self._waiting.appendleft(youngest)

    def _next_parts(self) -> list[tuple[Answer, int]]:
        """Prompts (or pieces of them) to be read in this step: answers and numbers of tokens."""
        parts: list[tuple[Answer, int]] = []
        room = max(self._max_tokens_per_step - sum(shelf.num_decoding for shelf in self.cache.shelves), 1)
        for answer in self._reading:
            if room:
                parts.append((answer, min(room, answer.num_unread)))
                room -= parts[-1][1]
        while room and self._waiting and self.cache.add(self._waiting[0], len(self._waiting[0].ids) + 1):
            answer = self._waiting.popleft()
            if answer.adapter is not None and answer.adapter.prefix:
                self.cache.put(answer, answer.adapter.prefix)
            self._reading.append(answer)
            parts.append((answer, min(room, answer.num_unread)))
            room -= parts[-1][1]
        return parts

    def _advance(self, answer: Answer, num_read: int) -> None:
        """Note what was read; a prompt that is complete starts to decode, and its siblings with it."""
        answer.num_cached += num_read
        if answer.num_unread:
            return
        self._reading.remove(answer)
        if answer.shelf is not None:
            answer.shelf.promote(answer)
        for sibling in answer.siblings:
            if not self.cache.fork(answer, sibling):
                self._waiting.appendleft(sibling)
        answer.siblings = []
