"""Learning from single answers that were liked or not, against a reference (the method 'kto').

    kto                desirable    1 - sigmoid(beta (ratio - drift))
                       undesirable  1 - sigmoid(beta (drift - ratio))
    apo_zero_unpaired  desirable    1 - sigmoid(beta ratio)
                       undesirable  sigmoid(beta ratio)

The ratio is log p(answer) - log p_reference(answer). The drift is how far the model has moved from the
reference altogether: the mean ratio, at least 0, of a step's prompts with the answers to other prompts; no
gradient flows through it. kto: Ethayarajh et al. 2024, arXiv:2402.01306. apo_zero_unpaired: D'Oosterlinck
et al. 2024, arXiv:2408.06266.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tailor.models import LoadedModel, Template
from tailor.training.answered import Answered
from tailor.training.batches import (
    Batch,
    Tokenized,
    TokenizedExample,
    microbatches_of,
    pack,
    tokenized_messages,
)
from tailor.training.objective import Figures, Part
from tailor.training.output import hidden_of_targets, is_packed, token_losses, weighted_losses
from tailor.training.recipe import Recipe
from tailor.training.selfcheck import packing_is_exact, switch_to_plain

if TYPE_CHECKING:
    from tailor.data import Message, Opinion

_CHECK_SIZE = 3


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TokenizedOpinion(Answered):
    """An answer as the model sees it, and whether it is one to give."""

    stranger: TokenizedExample
    """The prompt with the answer to another one."""

    is_desirable: bool

    @property
    def total_weight(self) -> float:
        """An opinion counts one, however long its answer is."""
        return 1.0


def tokenize_opinions(
    opinions: Iterable[Opinion], template: Template, *, max_tokens: int
) -> Tokenized[TokenizedOpinion]:
    """Render each prompt with its answer, and with that of the next opinion in the order of fingerprints."""
    kept, skipped, truncated = [], [], []
    listed = list(opinions)
    ordered = sorted(listed, key=lambda opinion: opinion.fingerprint)
    following = dict(zip(map(id, ordered), [*ordered[1:], *ordered[:1]], strict=True))

    def tokens(opinion: Opinion, answer: Message) -> tuple[TokenizedExample, bool]:
        asked = [{**message, "weight": 0} for message in opinion.messages]
        source = opinion.as_example()
        made = tokenized_messages([*asked, answer], source, template, max_tokens=max_tokens)
        return made.example, made.is_truncated

    for opinion in listed:
        example, is_truncated = tokens(opinion, opinion.answer)
        stranger, _ = tokens(opinion, following[id(opinion)].answer)
        if is_truncated:
            truncated.append(opinion.line)
        if not example.total_weight or not stranger.total_weight:
            skipped.append(opinion.line)
            continue
        kept.append(
            TokenizedOpinion(
                line=opinion.line,
                fingerprint=opinion.fingerprint,
                example=example,
                stranger=stranger,
                is_desirable=opinion.is_desirable,
            )
        )
    return Tokenized(examples=tuple(kept), skipped_lines=tuple(skipped), truncated_lines=tuple(truncated))


class OpinionObjective:
    """The loss of a recipe over opinions, against a reference whose log-likelihoods were measured before."""

    def __init__(self, recipe: Recipe) -> None:
        self._kind, self._beta = recipe.opinion_loss, recipe.beta
        self._weights = {True: recipe.desirable_weight, False: recipe.undesirable_weight}
        self._references: dict[str, tuple[float, float]] = {}
        self._drift = 0.0

    def prepare(
        self,
        loaded: LoadedModel,
        opinions: Sequence[TokenizedOpinion],
        *,
        max_tokens: int,
        tick: Callable[[], None],
    ) -> None:
        """Measure the reference: the model as it is before the first step, computed as training will."""
        if not packing_is_exact(loaded, [opinion.example for opinion in opinions[:_CHECK_SIZE]]):
            switch_to_plain(loaded)
        own = _all_log_likelihoods(loaded, [each.example for each in opinions], max_tokens, tick)
        strange = _all_log_likelihoods(loaded, [each.stranger for each in opinions], max_tokens, tick)
        for opinion, one, other in zip(opinions, own, strange, strict=True):
            self._references[opinion.fingerprint] = (one, other)

    def begin(
        self,
        loaded: LoadedModel,
        opinions: Sequence[TokenizedOpinion],
        *,
        max_tokens: int,
        tick: Callable[[], None],
    ) -> None:
        """Measure what all opinions of a step have in common: how far the model has moved."""
        if self._kind != "kto":
            return
        strangers = [opinion.stranger for opinion in opinions]
        now = _all_log_likelihoods(loaded, strangers, max_tokens, tick)
        before = [self._references[opinion.fingerprint][1] for opinion in opinions]
        drifts = [one - other for one, other in zip(now, before, strict=True)]
        self._drift = max(0.0, sum(drifts) / len(drifts))

    def part(self, loaded: LoadedModel, opinions: Sequence[TokenizedOpinion]) -> Part:
        """Summed loss of some opinions; gradients flow if autograd is on."""
        batch = pack([opinion.example for opinion in opinions], share=is_packed(loaded))
        hidden_NE = hidden_of_targets(loaded, batch)
        losses_N, is_right_N = token_losses(loaded, hidden_NE.detach(), batch)
        sums_P = _sums(losses_N, batch, len(opinions)).requires_grad_(torch.is_grad_enabled())
        references_P = torch.tensor(
            [self._references[opinion.fingerprint][0] for opinion in opinions], dtype=torch.double
        )
        signs_P = torch.tensor([1.0 if opinion.is_desirable else -1.0 for opinion in opinions])
        weights_P = torch.tensor([self._weights[opinion.is_desirable] for opinion in opinions])
        ratios_P = sums_P - references_P
        # 1 - sigmoid(x) = sigmoid(-x): the same function of the signed ratio for both kinds.
        losses_P = weights_P * torch.sigmoid(-self._beta * signs_P * (ratios_P - self._drift))
        total = losses_P.sum()
        rewards_P = self._beta * ratios_P.detach()
        if torch.is_grad_enabled():
            slopes_P = torch.autograd.grad(total, sums_P)[0]
            # d(loss)/d(token loss) is minus the slope at the answer's log-likelihood.
            weights_N = -slopes_P[batch.examples_N].to(batch.weights_N.dtype) * batch.weights_N
            total = weighted_losses(loaded, hidden_NE, batch, weights_N)
        return Part(
            total=total,
            figures=Figures(
                loss_sum=float(losses_P.detach().sum()),
                num_right=int(is_right_N.sum()),
                num_targets=len(is_right_N),
                more={
                    "reward_accuracy": float((signs_P * (rewards_P - self._beta * self._drift) > 0).sum()),
                    "drift": self._drift * len(opinions),
                },
            ),
        )


def _all_log_likelihoods(
    loaded: LoadedModel,
    examples: Sequence[TokenizedExample],
    max_tokens: int,
    tick: Callable[[], None],
) -> list[float]:
    """Of each answer as a whole, in nats; without gradient."""
    found: list[float] = []
    share = is_packed(loaded)
    with torch.no_grad():
        for group in microbatches_of(examples, max_tokens, share=share):
            tick()
            batch = pack(group, share=share)
            losses_N, _ = token_losses(loaded, hidden_of_targets(loaded, batch), batch)
            found += _sums(losses_N, batch, len(group)).tolist()
    return found


def _sums(losses_N: Tensor, batch: Batch, num_examples: int) -> Tensor:
    """Log-likelihood of each answer, in float64."""
    weighted = -losses_N.cpu().double() * batch.weights_N
    return torch.zeros(num_examples, dtype=torch.double).index_add_(0, batch.examples_N, weighted)
