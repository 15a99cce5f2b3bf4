"""What a step minimises, and how likely a model finds given answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from tailor.models import LoadedModel
from tailor.training.batches import TokenizedExample, microbatches_of, pack
from tailor.training.output import is_packed, supervised_losses


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleScore:
    """How well a model predicts one example's answers."""

    loss_sum: float
    """Weighted negative log-likelihood, in nats."""

    num_tokens: int
    """Targets it was summed over."""

    num_correct: int
    """Targets that were the likeliest token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Sums over the items of a step or of a part of one."""

    loss_sum: float = 0.0
    """Loss, in the unit that the items' `total_weight` counts."""

    num_right: int = 0
    """Targets that no token was likelier than."""

    num_targets: int = 0
    more: Mapping[str, float] = field(default_factory=dict)
    """What else an objective sums; reported as means over `total_weight`."""

    pending: tuple[Tensor, ...] = ()
    """Further loss sums and right targets `[2]` that a card may still be computing."""

    @classmethod
    def of(cls, total: Tensor, is_right_N: Tensor) -> Figures:
        """Loss and right targets of a part; nobody waits for a card until they are settled."""
        if total.device.type == "cpu":
            return cls(
                loss_sum=float(total.detach()), num_right=int(is_right_N.sum()), num_targets=len(is_right_N)
            )
        both = torch.stack([total.detach().double(), is_right_N.sum().double()])
        return cls(num_targets=len(is_right_N), pending=(both,))

    def settled(self) -> Figures:
        """The same with nothing pending: waits for the card, once."""
        if not self.pending:
            return self
        loss_sum, num_right = torch.stack(self.pending).sum(0).tolist()
        return replace(
            self, loss_sum=self.loss_sum + loss_sum, num_right=self.num_right + int(num_right), pending=()
        )

    def __add__(self, other: Figures) -> Figures:
        names = self.more.keys() | other.more.keys()
        return Figures(
            loss_sum=self.loss_sum + other.loss_sum,
            num_right=self.num_right + other.num_right,
            num_targets=self.num_targets + other.num_targets,
            more={name: self.more.get(name, 0.0) + other.more.get(name, 0.0) for name in sorted(names)},
            pending=self.pending + other.pending,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """An objective over some items of a step."""

    total: Tensor
    """Carries the gradient of the summed loss; its value may be another."""

    figures: Figures


class Objective(Protocol):
    """What a step minimises: a sum over its items."""

    def prepare(
        self, loaded: LoadedModel, items: Sequence[Any], *, max_tokens: int, tick: Callable[[], None]
    ) -> None:
        """Measure what is needed of the model as it is before the first step; `tick` before each part."""
        ...

    def part(self, loaded: LoadedModel, items: Sequence[Any]) -> Part:
        """The objective over some items, computed together; gradients flow if autograd is on."""
        ...


class LikelihoodObjective:
    """Weighted negative log-likelihood of answers, or of plain text."""

    def prepare(
        self,
        loaded: LoadedModel,
        items: Sequence[TokenizedExample],
        *,
        max_tokens: int,
        tick: Callable[[], None],
    ) -> None:
        """Nothing is needed."""

    def part(self, loaded: LoadedModel, items: Sequence[TokenizedExample]) -> Part:
        """Summed weighted loss, in nats."""
        losses = supervised_losses(loaded, pack(items, share=is_packed(loaded)))
        return Part(total=losses.total, figures=Figures.of(losses.total, losses.is_right_N))


def score(
    loaded: LoadedModel,
    examples: Sequence[TokenizedExample],
    *,
    max_microbatch_tokens: int = 4096,
    on_microbatch: Callable[[], None] | None = None,
) -> list[ExampleScore]:
    """Loss and token accuracy of each example, without training on it.

    `on_microbatch` is called before each micro-batch and may raise to stop.
    """
    by_length = sorted(range(len(examples)), key=lambda i: examples[i].num_tokens)
    scores: list[ExampleScore] = []
    with torch.inference_mode():
        for group in microbatches_of(
            [examples[i] for i in by_length], max_microbatch_tokens, share=is_packed(loaded)
        ):
            if on_microbatch is not None:
                on_microbatch()
            batch = pack(group, share=is_packed(loaded))
            losses = supervised_losses(loaded, batch)
            owners = batch.examples_N
            weighted = losses.losses_N.cpu().double() * batch.weights_N
            sums = torch.zeros(len(group), dtype=torch.double).index_add_(0, owners, weighted)
            counts = torch.bincount(owners, minlength=len(group))
            right = torch.bincount(owners[losses.is_right_N.cpu()], minlength=len(group))
            scores += [
                ExampleScore(loss_sum=float(s), num_tokens=int(n), num_correct=int(r))
                for s, n, r in zip(sums, counts, right, strict=True)
            ]
    places = {index: place for place, index in enumerate(by_length)}
    return [scores[places[i]] for i in range(len(examples))]
