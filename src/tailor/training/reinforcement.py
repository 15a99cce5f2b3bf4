"""Learning from rewards: answers to one prompt are compared, and the better ones made likelier.

    name     advantage of an answer             each token counts        the step's sum is divided by
    grpo     (reward - mean) / deviation        1 / answer's tokens      answers
    dr_grpo  reward - mean                      1 / most answer tokens   answers
    dapo     (reward - mean) / deviation        1                        answer tokens
    rloo     reward - mean of the others        1                        answers

grpo: Shao et al. 2024, arXiv:2402.03300. dr_grpo: Liu et al. 2025, arXiv:2503.20783, which shows that
dividing by an answer's length favours long wrong answers, and dividing by the deviation favours prompts
that are nearly always or nearly never answered well. dapo: Yu et al. 2025, arXiv:2503.14476. rloo:
Ahmadian et al. 2024, arXiv:2402.14740; it clips and weighs whole answers, the others token by token.

Like the losses of `preferences`, each is a function of the tokens' log-likelihoods whose slopes become
token weights: packing, shared prompts and the tiled output layer are those of supervised training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, pstdev

import torch
from torch import Tensor

from tailor.models import LoadedModel, adapter_parameters
from tailor.training.batches import Batch, TokenizedExample, microbatches_of, pack
from tailor.training.exploration import Exploration
from tailor.training.objective import Figures, Part
from tailor.training.output import hidden_of_targets, is_packed, token_losses, weighted_losses

_LEAST_DEVIATION = 1e-4
"""Added to a group's deviation, as all published code does."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Rollout:
    """One answer that the model has tried, with what it was worth. N is the number of its tokens."""

    example: TokenizedExample
    """Prompt and answer; the answer's tokens have weight 1, its end of turn among them."""

    advantage: float
    """How much better than the group's other answers."""

    token_weight: float
    """What each of its tokens counts in the step's sum."""

    total_weight: float
    """Its share in what the step's sum is divided by."""

    before_N: Tensor | None = None
    """Log-likelihood of each token when it was drawn; None: it is drawn from the model as it is now."""

    start_N: Tensor | None = None
    """The same under the model that training started from; None where it costs nothing to leave it."""

    @property
    def line(self) -> int:
        """Line of the prompt in the training file, from 1."""
        return self.example.line

    @property
    def fingerprint(self) -> str:
        """Identity of the prompt."""
        return self.example.fingerprint

    @property
    def sequences(self) -> tuple[TokenizedExample, ...]:
        """Prompt and answer as one."""
        return (self.example,)

    @property
    def num_tokens(self) -> int:
        """Of prompt and answer."""
        return self.example.num_tokens


def advantages_of(rewards: Sequence[float], loss: str) -> list[float]:
    """How much better each answer of a group is than the others; all 0 where they are equally good."""
    if len(rewards) < 2 or max(rewards) == min(rewards):
        return [0.0] * len(rewards)
    mean = fmean(rewards)
    if loss == "rloo":
        # reward - mean of the others = (reward - mean of all) * G / (G - 1)
        return [(reward - mean) * len(rewards) / (len(rewards) - 1) for reward in rewards]
    if loss == "dr_grpo":
        return [reward - mean for reward in rewards]
    deviation = pstdev(rewards, mean) * (len(rewards) / (len(rewards) - 1)) ** 0.5 + _LEAST_DEVIATION
    return [(reward - mean) / deviation for reward in rewards]


def token_weight(loss: str, num_tokens: int, max_tokens: int) -> float:
    """What each token of an answer counts."""
    return {"grpo": 1 / num_tokens, "dr_grpo": 1 / max_tokens}.get(loss, 1.0)


def total_weight(loss: str, num_tokens: int) -> float:
    """An answer's part in what a step's sum is divided by."""
    return float(num_tokens) if loss == "dapo" else 1.0


class ReinforcementObjective:
    """The loss of a recipe over rollouts."""

    def __init__(self, exploration: Exploration) -> None:
        self._asked = exploration
        self._start: dict[str, Tensor] = {}

    def prepare(
        self, loaded: LoadedModel, items: Sequence[object], *, max_tokens: int, tick: Callable[[], None]
    ) -> None:
        """Keep the trainable weights as they are before the first step, if leaving them costs anything.

        For LoRA that is an adapter's worth of memory, for full training a second model's.
        """
        if self._asked.kl:
            self._start = {
                name: parameter.detach().clone()
                for name, parameter in adapter_parameters(loaded.model).items()
            }

    def log_likelihoods(
        self, loaded: LoadedModel, examples: Sequence[TokenizedExample], *, max_tokens: int
    ) -> list[Tensor]:
        """Of each answer's tokens `[N]`, under the model as it is."""
        found: list[Tensor] = []
        share = is_packed(loaded)
        with torch.inference_mode():
            for group in microbatches_of(examples, max_tokens, share=share):
                batch = pack(group, share=share)
                losses_N, _ = self._token_losses(loaded, hidden_of_targets(loaded, batch), batch)
                counts = torch.bincount(batch.examples_N, minlength=len(group)).tolist()
                found += [part.clone() for part in torch.split(-losses_N.cpu().double(), counts)]
        return found

    def start_log_likelihoods(
        self, loaded: LoadedModel, examples: Sequence[TokenizedExample], *, max_tokens: int
    ) -> list[Tensor]:
        """The same under the model that training started from."""
        with self._as_at_start(loaded):
            return self.log_likelihoods(loaded, examples, max_tokens=max_tokens)

    def part(self, loaded: LoadedModel, rollouts: Sequence[Rollout]) -> Part:
        """Summed loss of some rollouts; gradients flow if autograd is on."""
        batch = pack([rollout.example for rollout in rollouts], share=is_packed(loaded))
        hidden_NE = hidden_of_targets(loaded, batch)
        losses_N, is_right_N = self._token_losses(loaded, hidden_NE.detach(), batch)
        now_N = (-losses_N.cpu().double()).requires_grad_(torch.is_grad_enabled())
        losses = self._losses(now_N, rollouts, batch.examples_N)
        total = losses.total
        if torch.is_grad_enabled():
            # d(loss)/d(token loss) is minus the slope at the token's log-likelihood.
            weights_N = -torch.autograd.grad(total, now_N)[0].to(batch.weights_N.dtype)
            total = weighted_losses(loaded, hidden_NE, batch, weights_N, temperature=self._asked.temperature)
        return Part(
            total=total,
            figures=Figures(
                loss_sum=float(losses.total.detach()),
                num_right=int(is_right_N.sum()),
                num_targets=len(is_right_N),
                more=losses.more,
            ),
        )

    def _token_losses(self, loaded: LoadedModel, hidden_NE: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        return token_losses(loaded, hidden_NE, batch, temperature=self._asked.temperature)

    def _losses(self, now_N: Tensor, rollouts: Sequence[Rollout], owners_N: Tensor) -> _Losses:
        asked = self._asked
        still_N = now_N.detach()
        counts = torch.bincount(owners_N, minlength=len(rollouts))
        parts = zip(rollouts, torch.split(still_N, counts.tolist()), strict=True)
        before_N = torch.cat([own if each.before_N is None else each.before_N for each, own in parts])
        advantage_R = torch.tensor([each.advantage for each in rollouts], dtype=torch.double)
        weight_R = torch.tensor([each.token_weight for each in rollouts], dtype=torch.double)
        # What a figure's mean over an answer's tokens counts in the step's mean.
        share_R = torch.tensor([each.total_weight for each in rollouts], dtype=torch.double) / counts
        if asked.loss == "rloo":
            drift_R = torch.zeros_like(advantage_R).index_add(0, owners_N, now_N - before_N)
            gain_R, is_clipped_R = self._clipped(drift_R, advantage_R)
            total = -(weight_R * gain_R).sum()
            is_clipped_N = is_clipped_R[owners_N]
        else:
            gain_N, is_clipped_N = self._clipped(now_N - before_N, advantage_R[owners_N])
            total = -(weight_R[owners_N] * gain_N).sum()
        more = {}
        if asked.num_updates > 1:
            more["clipped_share"] = float((share_R[owners_N] * is_clipped_N).sum())
        if asked.kl:
            start_N = torch.cat([each.start_N for each in rollouts if each.start_N is not None])
            drift_N = start_N - now_N
            # The estimator k3 (Schulman 2020, http://joschu.net/blog/kl-approx.html): never negative.
            kl_N = torch.expm1(drift_N) - drift_N
            total = total + asked.kl * (weight_R[owners_N] * kl_N).sum()
            more["kl"] = float((share_R[owners_N] * kl_N.detach()).sum())
        return _Losses(total, more)

    def _clipped(self, drift: Tensor, advantage: Tensor) -> tuple[Tensor, Tensor]:
        """Gain from having become `exp(drift)` times as likely, and where it is cut off."""
        ratio = drift.exp()
        bounded = ratio.clamp(1 - self._asked.clip_low, 1 + self._asked.clip_high)
        gain = torch.minimum(ratio * advantage, bounded * advantage)
        return gain, (bounded * advantage < ratio * advantage).detach()

    @contextmanager
    def _as_at_start(self, loaded: LoadedModel) -> Iterator[None]:
        """The weights of the start, put in place of today's for a while."""
        parameters = adapter_parameters(loaded.model)
        today = {name: parameter.data for name, parameter in parameters.items()}
        for name, parameter in parameters.items():
            parameter.data = self._start[name]
        try:
            yield
        finally:
            for name, parameter in parameters.items():
                parameter.data = today[name]


@dataclass(frozen=True, slots=True)
class _Losses:
    total: Tensor
    more: dict[str, float]
