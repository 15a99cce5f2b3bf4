"""From examples to packed batches: rendered once, ordered by hash, cut into steps, shards, micro-batches.

What belongs to a step follows from (seed, epoch, fingerprint) alone; packing and sharing only arrange the
arithmetic inside a step.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic, Protocol

import torch
from torch import Tensor
from typing_extensions import TypeVar

from tailor.models import PackedLayout, Template
from tailor.training.recipe import Recipe
from tailor.training.resolving import DatasetFacts
from tailor.training.sharing import apart, common_length, shared

if TYPE_CHECKING:
    from tailor.data import Example, Message, PreferenceExample


class Trainable(Protocol):
    """What a step is made of: one token sequence, or several that belong together."""

    @property
    def line(self) -> int:
        """Line of the training file, from 1."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identity, wherever it stands in the file."""
        ...

    @property
    def sequences(self) -> tuple[TokenizedExample, ...]:
        """What is computed for it."""
        ...

    @property
    def num_tokens(self) -> int:
        """Tokens of all its sequences."""
        ...

    @property
    def total_weight(self) -> float:
        """Its share in the mean loss of a step."""
        ...


Item = TypeVar("Item", bound=Trainable)


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedExample:
    """One example as the model sees it."""

    line: int
    """Line of the training file, from 1."""

    fingerprint: str
    """Identity of the example, wherever it stands in the file."""

    ids: Tensor
    """`[L]`, whole numbers of any width."""

    weights: Tensor
    """`[L]` float32: loss weight of each token as a target; the first is always 0."""

    @property
    def sequences(self) -> tuple[TokenizedExample, ...]:
        """Itself alone."""
        return (self,)

    @property
    def num_tokens(self) -> int:
        """Length after truncation."""
        return len(self.ids)

    @property
    def total_weight(self) -> float:
        """Loss weight of the whole example."""
        return float(self.weights.sum())


Kept = TypeVar("Kept", bound=Trainable, default=TokenizedExample)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokenized(Generic[Kept]):
    """A dataset as token ids, and what had to be left out."""

    examples: tuple[Kept, ...]
    """Those with something to learn."""

    skipped_lines: tuple[int, ...]
    """Lines that have no answer within the context length."""

    truncated_lines: tuple[int, ...]
    """Lines that lost their end."""

    unread_lines: tuple[int, ...] = ()
    """Lines of which a teacher with other tokens can read nothing."""

    have_answers: bool = True
    """False if some examples are prompts alone."""

    @property
    def facts(self) -> DatasetFacts:
        """What the automatic recipe looks at."""
        return DatasetFacts(
            num_examples=len(self.examples),
            num_tokens=sum(example.num_tokens for example in self.examples),
            have_answers=self.have_answers,
        )


def tokenize(examples: Iterable[Example], template: Template, *, max_tokens: int) -> Tokenized:
    """Render and tokenise examples; longer ones lose their end (contract section 3)."""
    kept, skipped, truncated = [], [], []
    for example in examples:
        made = tokenized_messages(example.messages, example, template, max_tokens=max_tokens)
        if made.is_truncated:
            truncated.append(example.line)
        if made.example.total_weight:
            kept.append(made.example)
        else:
            skipped.append(example.line)
    return Tokenized(examples=tuple(kept), skipped_lines=tuple(skipped), truncated_lines=tuple(truncated))


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A tokenised conversation."""

    example: TokenizedExample
    is_truncated: bool


def tokenized_messages(
    messages: Sequence[Message], source: Example | PreferenceExample, template: Template, *, max_tokens: int
) -> Made:
    """A conversation of an example as token ids; without weight where no answer fits."""
    rendered = template.render(messages, source.tools)
    weights = torch.tensor(rendered.weights[:max_tokens], dtype=torch.float32)
    weights[:1] = 0.0  # nothing comes before the first token, so nothing predicts it
    example = TokenizedExample(
        line=source.line,
        fingerprint=source.fingerprint,
        ids=torch.tensor(rendered.ids[:max_tokens]),
        weights=weights,
    )
    return Made(example=example, is_truncated=len(rendered.ids) > max_tokens)


def epoch_order(examples: Sequence[Item], *, seed: int, epoch: int) -> tuple[Item, ...]:
    """The examples in the order of one epoch."""

    def place(example: Item) -> tuple[bytes, int]:
        return hashlib.sha256(f"{seed}:{epoch}:{example.fingerprint}".encode()).digest(), example.line

    return tuple(sorted(examples, key=place))


class DataOrder(Generic[Kept]):
    """Which examples make up which step; general ones are mixed in where the recipe says so."""

    def __init__(self, examples: Sequence[Kept], recipe: Recipe, replay: Sequence[Kept] = ()) -> None:
        self._recipe = recipe
        num_replayed = recipe.num_replayed if replay else 0
        self.steps_per_epoch = math.ceil((len(examples) + num_replayed) / recipe.batch_size)
        # Each epoch takes the next ones of a fixed order, so that all are seen before any is seen again.
        again = epoch_order(replay, seed=recipe.seed, epoch=-1)

        def order(epoch: int) -> tuple[Kept, ...]:
            begin = epoch * num_replayed
            taken = [again[(begin + place) % len(again)] for place in range(num_replayed)]
            return epoch_order([*examples, *taken], seed=recipe.seed, epoch=epoch)

        self._epoch = lru_cache(maxsize=1)(order)

    def epoch_of(self, step: int) -> int:
        """Epoch of a step; both count from 0."""
        return step // self.steps_per_epoch

    def examples_of(self, step: int) -> tuple[Kept, ...]:
        """The examples of a step, counted from 0."""
        begin = step % self.steps_per_epoch * self._recipe.batch_size
        return self._epoch(self.epoch_of(step))[begin : begin + self._recipe.batch_size]

    def ends_epoch(self, step: int) -> bool:
        """Whether a step, counted from 0, is the last of its epoch."""
        return (step + 1) % self.steps_per_epoch == 0


def shards_of(examples: Sequence[Item], shard_size: int) -> list[Sequence[Item]]:
    """Consecutive groups whose gradients are computed apart and summed in a fixed tree."""
    return [examples[begin : begin + shard_size] for begin in range(0, len(examples), shard_size)]


def microbatches_of(examples: Sequence[Item], max_tokens: int, *, share: bool = True) -> list[list[Item]]:
    """Consecutive groups of at most `max_tokens` computed tokens, at least one example each.

    What an example begins with counts only once in a group, if beginnings are shared.
    """
    groups: list[list[Item]] = []
    there: list[Tensor] = []
    room = 0
    for example in examples:
        added = [each.ids for each in example.sequences]
        cost = _cost(added, there if share else None)
        if not groups or cost > room:
            groups.append([])
            there = []
            cost, room = _cost(added, there if share else None), max_tokens
        groups[-1].append(example)
        there += added
        room -= cost
    return groups


def _cost(added: Sequence[Tensor], there: Sequence[Tensor] | None) -> int:
    """Tokens to compute for more sequences beside those that are there; None: nothing is shared."""
    if there is None:
        return sum(len(ids) for ids in added)
    cost, known = 0, list(there)
    for ids in added:
        cost += len(ids) - max((common_length(ids, other) for other in known), default=0)
        known.append(ids)
    return cost


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Packed examples: T computed tokens and N targets, each predicted from one of them."""

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

    ends_B: Tensor
    """Index of each example's last token."""


def pack(examples: Sequence[TokenizedExample], *, share: bool = True) -> Batch:
    """Examples side by side, without padding; what several begin with is there once, if shared.

    Targets stand example by example, whether shared or not.
    """
    segments = (shared if share else apart)([example.ids for example in examples])
    targets = [example.weights.nonzero().squeeze(1) for example in examples]
    pairs = list(zip(examples, targets, segments.places, strict=True))
    return Batch(
        ids_T=segments.ids_T,
        layout=PackedLayout(segments.lengths, segments.parents),
        sources_N=torch.cat([places[at - 1] for _, at, places in pairs]),
        targets_N=torch.cat([example.ids[at] for example, at, _ in pairs]).long(),
        weights_N=torch.cat([example.weights[at] for example, at, _ in pairs]),
        examples_N=torch.repeat_interleave(
            torch.arange(len(examples)), torch.tensor([len(at) for at in targets])
        ),
        ends_B=torch.stack([places[-1] for places in segments.places]),
    )
