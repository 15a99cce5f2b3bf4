"""Learning from pairs: the losses of direct preference optimisation and its relatives.

Each loss is a function of the log-likelihoods of both answers (and of the reference's). The batch is
computed once; the function's slope at each answer becomes the weight of that answer's tokens, so packing,
shared prompts and the tiled output layer are those of supervised training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from tailor.models import LoadedModel, Template
from tailor.training.batches import Tokenized, TokenizedExample, microbatches_of, pack, tokenized_messages
from tailor.training.objective import Figures, Part
from tailor.training.output import hidden_of_targets, is_packed, token_losses, weighted_losses
from tailor.training.recipe import Recipe
from tailor.training.selfcheck import packing_is_exact, switch_to_plain

if TYPE_CHECKING:
    from tailor.data import PreferenceExample

LOSSES = ("sigmoid", "ipo", "hinge", "simpo", "orpo")
WITHOUT_REFERENCE = ("simpo", "orpo")
_CHECK_SIZE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedPair:
    """One question with both answers as the model sees them."""

    line: int
    """Line of the training file, from 1."""

    fingerprint: str
    """Identity of the pair, wherever it stands in the file."""

    preferred: TokenizedExample
    rejected: TokenizedExample

    @property
    def sequences(self) -> tuple[TokenizedExample, ...]:
        """What is computed for it."""
        return (self.preferred, self.rejected)

    @property
    def num_tokens(self) -> int:
        """Tokens of both."""
        return self.preferred.num_tokens + self.rejected.num_tokens

    @property
    def total_weight(self) -> float:
        """A pair counts one, however long its answers are."""
        return 1.0


def tokenize_preferences(
    examples: Iterable[PreferenceExample], template: Template, *, max_tokens: int
) -> Tokenized[TokenizedPair]:
    """Render both answers after the question; longer ones lose their end. Only the outputs carry loss."""
    kept, skipped, truncated = [], [], []
    for example in examples:
        asked = [{**message, "weight": 0} for message in example.messages]
        sides = [
            tokenized_messages([*asked, *output], example, template, max_tokens=max_tokens)
            for output in (example.preferred, example.rejected)
        ]
        if any(side.is_truncated for side in sides):
            truncated.append(example.line)
        preferred, rejected = (side.example for side in sides)
        if not preferred.total_weight or not rejected.total_weight or _are_equal(preferred, rejected):
            skipped.append(example.line)
            continue
        kept.append(
            TokenizedPair(
                line=example.line, fingerprint=example.fingerprint, preferred=preferred, rejected=rejected
            )
        )
    return Tokenized(examples=tuple(kept), skipped_lines=tuple(skipped), truncated_lines=tuple(truncated))


def _are_equal(one: TokenizedExample, other: TokenizedExample) -> bool:
    return torch.equal(one.ids, other.ids)


class PreferenceObjective:
    """The loss of a recipe over pairs, against a reference whose log-likelihoods were measured before."""

    def __init__(self, recipe: Recipe) -> None:
        self._kind, self._beta, self._margin = recipe.preference_loss, recipe.beta, recipe.preference_margin
        self._references: dict[str, tuple[float, float]] = {}

    def prepare(
        self,
        loaded: LoadedModel,
        pairs: Sequence[TokenizedPair],
        *,
        max_tokens: int,
        tick: Callable[[], None],
    ) -> None:
        """Measure the reference: the model as it is before the first step, computed as training will."""
        if self._kind in WITHOUT_REFERENCE:
            return
        if not packing_is_exact(loaded, [each for pair in pairs[:_CHECK_SIZE] for each in pair.sequences]):
            switch_to_plain(loaded)
        share = is_packed(loaded)
        with torch.inference_mode():
            for group in microbatches_of(pairs, max_tokens, share=share):
                tick()
                sums_P2 = _log_likelihoods(loaded, group)[0]
                for pair, (preferred, rejected) in zip(group, sums_P2.tolist(), strict=True):
                    self._references[pair.fingerprint] = (preferred, rejected)

    def part(self, loaded: LoadedModel, pairs: Sequence[TokenizedPair]) -> Part:
        """Summed loss of some pairs; gradients flow if autograd is on."""
        batch = pack([each for pair in pairs for each in pair.sequences], share=is_packed(loaded))
        hidden_NE = hidden_of_targets(loaded, batch)
        losses_N, is_right_N = token_losses(loaded, hidden_NE.detach(), batch)
        sums_P2, counts_P2 = _per_answer(losses_N, batch.weights_N, batch.examples_N, len(pairs))
        sums_P2 = sums_P2.requires_grad_(torch.is_grad_enabled())
        references_P2 = torch.tensor([self._reference(pair) for pair in pairs], dtype=sums_P2.dtype)
        losses_P = self._losses(sums_P2, counts_P2, references_P2)
        total = losses_P.sum()
        gains_P2 = self._beta * (sums_P2.detach() - references_P2)
        margins_P = gains_P2[:, 0] - gains_P2[:, 1]
        if torch.is_grad_enabled():
            slopes = torch.autograd.grad(total, sums_P2)[0].flatten()
            # d(loss)/d(token loss) is minus the slope at the answer's log-likelihood.
            weights_N = -slopes[batch.examples_N].to(batch.weights_N.dtype) * batch.weights_N
            total = weighted_losses(loaded, hidden_NE, batch, weights_N)
        return Part(
            total=total,
            figures=Figures(
                loss_sum=float(losses_P.detach().sum()),
                num_right=int(is_right_N.sum()),
                num_targets=len(is_right_N),
                more={
                    "reward_accuracy": float((margins_P > 0).sum()),
                    "reward_margin": float(margins_P.sum()),
                },
            ),
        )

    def _reference(self, pair: TokenizedPair) -> tuple[float, float]:
        """What the reference finds of both answers; 0 where the loss asks no reference."""
        return (0.0, 0.0) if self._kind in WITHOUT_REFERENCE else self._references[pair.fingerprint]

    def _losses(self, sums_P2: Tensor, counts_P2: Tensor, references_P2: Tensor) -> Tensor:
        """Loss of each pair from the log-likelihoods `[pair, (preferred, rejected)]`."""
        beta = self._beta
        if self._kind == "simpo":  # Meng et al. 2024, arXiv:2405.14734
            means = sums_P2 / counts_P2
            return -logsigmoid(beta * (means[:, 0] - means[:, 1]) - self._margin)
        if self._kind == "orpo":  # Hong et al. 2024, arXiv:2403.07691
            means = sums_P2 / counts_P2
            odds = means - torch.log1p(-means.exp().clamp(max=1 - 1e-7))
            return -means[:, 0] - beta * logsigmoid(odds[:, 0] - odds[:, 1])
        gains = sums_P2 - references_P2
        if self._kind == "ipo":  # Azar et al. 2023, arXiv:2310.12036, per token as in their published code
            means = gains / counts_P2
            return (means[:, 0] - means[:, 1] - 1 / (2 * beta)).square()
        logits = beta * (gains[:, 0] - gains[:, 1])
        if self._kind == "hinge":  # Zhao et al. 2023, arXiv:2305.10425
            return relu(1 - logits)
        return -logsigmoid(logits)  # Rafailov et al. 2023, arXiv:2305.18290


def mean_log_likelihoods(
    loaded: LoadedModel, pairs: Sequence[TokenizedPair], *, max_tokens: int = 4096
) -> list[tuple[float, float]]:
    """Log-likelihood per token of the preferred and of the rejected answer, pair by pair."""
    found: list[tuple[float, float]] = []
    with torch.inference_mode():
        for group in microbatches_of(pairs, max_tokens, share=is_packed(loaded)):
            sums_P2, counts_P2 = _log_likelihoods(loaded, group)
            found += [(one, other) for one, other in (sums_P2 / counts_P2).tolist()]
    return found


def _log_likelihoods(loaded: LoadedModel, pairs: Sequence[TokenizedPair]) -> tuple[Tensor, Tensor]:
    batch = pack([each for pair in pairs for each in pair.sequences], share=is_packed(loaded))
    losses_N, _ = token_losses(loaded, hidden_of_targets(loaded, batch), batch)
    return _per_answer(losses_N, batch.weights_N, batch.examples_N, len(pairs))


def _per_answer(
    losses_N: Tensor, weights_N: Tensor, owners_N: Tensor, num_pairs: int
) -> tuple[Tensor, Tensor]:
    """Log-likelihood and number of tokens of each answer, `[pair, (preferred, rejected)]`."""
    sums = torch.zeros(2 * num_pairs, dtype=torch.double).index_add_(
        0, owners_N, -losses_N.cpu().double() * weights_N
    )
    counts = torch.zeros(2 * num_pairs, dtype=torch.double).index_add_(0, owners_N, weights_N.double())
    return sums.view(-1, 2), counts.view(-1, 2)
