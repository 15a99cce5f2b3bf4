"""From examples to packed batches: rendered once, ordered by hash, cut into steps, shards, micro-batches.

What belongs to a step follows from (seed, epoch, fingerprint) alone; packing only arranges the arithmetic
inside a step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tailor.models import PackedLayout, Template
from tailor.training.recipe import DatasetFacts, Recipe

if TYPE_CHECKING:
    from tailor.data import Example


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedExample:
    """One example as the model sees it."""

    line: int
    """Line of the training file, from 1."""

    fingerprint: str
    """Identity of the example, wherever it stands in the file."""

    ids: Tensor
    """`[L]` int64."""

    weights: Tensor
    """`[L]` float32: loss weight of each token as a target; the first is always 0."""

    @property
    def num_tokens(self) -> int:
        """Length after truncation."""
        return len(self.ids)

    @property
    def total_weight(self) -> float:
        """Loss weight of the whole example."""
        return float(self.weights.sum())


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenized:
    """A dataset as token ids, and what had to be left out."""

    examples: tuple[TokenizedExample, ...]
    """Those with something to learn."""

    skipped_lines: tuple[int, ...]
    """Lines that have no answer within the context length."""

    truncated_lines: tuple[int, ...]
    """Lines that lost their end."""

    @property
    def facts(self) -> DatasetFacts:
        """What the automatic recipe looks at."""
        return DatasetFacts(
            num_examples=len(self.examples), num_tokens=sum(example.num_tokens for example in self.examples)
        )


def tokenize(examples: Iterable[Example], template: Template, *, max_tokens: int) -> Tokenized:
    """Render and tokenise examples; longer ones lose their end (contract section 3)."""
    kept, skipped, truncated = [], [], []
    for example in examples:
        rendered = template.render(example.messages, example.tools)
        if len(rendered.ids) > max_tokens:
            truncated.append(example.line)
        weights = torch.tensor(rendered.weights[:max_tokens], dtype=torch.float32)
        weights[:1] = 0.0  # nothing comes before the first token, so nothing predicts it
        if not weights.any():
            skipped.append(example.line)
            continue
        ids = torch.tensor(rendered.ids[:max_tokens])
        kept.append(
            TokenizedExample(line=example.line, fingerprint=example.fingerprint, ids=ids, weights=weights)
        )
    return Tokenized(examples=tuple(kept), skipped_lines=tuple(skipped), truncated_lines=tuple(truncated))


def epoch_order(
    examples: Sequence[TokenizedExample], *, seed: int, epoch: int
) -> tuple[TokenizedExample, ...]:
    """The examples in the order of one epoch."""

    def place(example: TokenizedExample) -> tuple[bytes, int]:
        return hashlib.sha256(f"{seed}:{epoch}:{example.fingerprint}".encode()).digest(), example.line

    return tuple(sorted(examples, key=place))


class DataOrder:
    """Which examples make up which step."""

    def __init__(self, examples: Sequence[TokenizedExample], recipe: Recipe) -> None:
        self._recipe = recipe
        self.steps_per_epoch = math.ceil(len(examples) / recipe.batch_size)
        self._epoch = lru_cache(maxsize=1)(lambda epoch: epoch_order(examples, seed=recipe.seed, epoch=epoch))

    def epoch_of(self, step: int) -> int:
        """Epoch of a step; both count from 0."""
        return step // self.steps_per_epoch

    def examples_of(self, step: int) -> tuple[TokenizedExample, ...]:
        """The examples of a step, counted from 0."""
        begin = step % self.steps_per_epoch * self._recipe.batch_size
        return self._epoch(self.epoch_of(step))[begin : begin + self._recipe.batch_size]

    def ends_epoch(self, step: int) -> bool:
        """Whether a step, counted from 0, is the last of its epoch."""
        return (step + 1) % self.steps_per_epoch == 0


def shards_of(examples: Sequence[TokenizedExample], shard_size: int) -> list[Sequence[TokenizedExample]]:
    """Consecutive groups whose gradients are computed apart and summed in a fixed tree."""
    return [examples[begin : begin + shard_size] for begin in range(0, len(examples), shard_size)]


def microbatches_of(examples: Sequence[TokenizedExample], max_tokens: int) -> list[list[TokenizedExample]]:
    """Consecutive groups of at most `max_tokens` tokens, at least one example each."""
    groups: list[list[TokenizedExample]] = []
    room = 0
    for example in examples:
        if not groups or example.num_tokens > room:
            groups.append([])
            room = max_tokens
        groups[-1].append(example)
        room -= example.num_tokens
    return groups


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Packed examples: T tokens, of which N are followed by a token with loss."""

    ids_T: Tensor
    """Token ids."""

    layout: PackedLayout
    """Who sees whom, and the position ids."""

    sources_N: Tensor
    """Indices whose hidden state predicts a target."""

    targets_N: Tensor
    """Ids to be predicted."""

    weights_N: Tensor
    """Their loss weights."""

    examples_N: Tensor
    """Which example of the batch each target belongs to."""


def pack(examples: Sequence[TokenizedExample]) -> Batch:
    """Examples side by side, without padding."""
    lengths = [example.num_tokens for example in examples]
    ids_T = torch.cat([example.ids for example in examples])
    weights_T = torch.cat([example.weights for example in examples])
    targets = weights_T.nonzero().squeeze(1)
    owners_T = torch.repeat_interleave(torch.arange(len(examples)), torch.tensor(lengths))
    return Batch(
        ids_T=ids_T,
        layout=PackedLayout(lengths),
        sources_N=targets - 1,
        targets_N=ids_T[targets],
        weights_N=weights_T[targets],
        examples_N=owners_T[targets],
    )
