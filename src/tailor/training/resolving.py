"""What the caller left open, resolved part by part: how long, how fast, by what loss, how it ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailor.errors import InvalidRequest
from tailor.models.catalogue import BaseFacts
from tailor.training.adaptation import Adaptation
from tailor.training.exploration import Exploration
from tailor.training.imitation import Imitation
from tailor.training.rules import (
    DPO_RATE_SHARE,
    NUM_LOOKS,
    REINFORCEMENT_RATE_SHARE,
    TEXT_STEP_TOKENS,
    WITH_REPLAY,
    auto_batch_size,
    auto_epochs,
    auto_learning_rate,
    auto_prompts,
    auto_rank,
    auto_rounds,
    auto_shard_size,
    auto_text_epochs,
)
from tailor.training.wanted import Wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetFacts:
    """What the automatic rules look at."""

    num_examples: int
    """Examples that can be trained on."""

    num_tokens: int
    """Their tokens together, after truncation."""

    have_answers: bool = True
    """False if some of them are prompts alone."""

    num_replay: int = 0
    """General examples that can be mixed in."""

    replay: str = ""
    """Their fingerprint."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Length:
    """How much training there is."""

    num_epochs: int
    """That are begun."""

    batch_size: int
    num_steps: int
    steps_per_epoch: int
    num_replayed: int
    """General examples of each epoch."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """What the rules look at: data, base, and what the caller said."""

    dataset: DatasetFacts
    base: BaseFacts
    wanted: Wanted
    method: str
    adaptation: Adaptation
    limit: int
    """Tokens of the longest example."""

    @classmethod
    def of(
        cls, dataset: DatasetFacts, base: BaseFacts, wanted: Wanted, *, method: str, parent: Path | None
    ) -> Given:
        """Raises InvalidRequest where the adapter asked for is not that of the parent version."""
        adaptation = Adaptation.auto(wanted, parent, auto_rank(base.num_parameters))
        taken = adaptation.numbers["num_virtual_tokens"] if adaptation.kind == "prefix" else 0
        room = base.context_length - taken
        return cls(
            dataset=dataset,
            base=base,
            wanted=wanted,
            method=method,
            adaptation=adaptation,
            limit=min(wanted.max_context_tokens or room, room),
        )

    def length(self) -> Length:
        """Epochs, examples a step, steps."""
        batch_size, num_epochs = self._batch_size_and_epochs()
        num_replayed = self._num_replayed()
        steps_per_epoch = math.ceil((self.dataset.num_examples + num_replayed) / batch_size)
        num_steps = num_epochs * steps_per_epoch
        num_steps = min(num_steps, self.wanted.max_steps or num_steps)
        return Length(
            num_epochs=math.ceil(num_steps / steps_per_epoch),
            batch_size=batch_size,
            num_steps=num_steps,
            steps_per_epoch=steps_per_epoch,
            num_replayed=num_replayed,
        )

    def peak_rate(self) -> float:
        """The learning rate at its highest, multiplier included."""
        numbers, multiplier = self.adaptation.numbers, self.wanted.learning_rate_multiplier or 1.0
        if self.wanted.learning_rate:
            return self.wanted.learning_rate * multiplier
        rank = 16 if numbers.get("rslora") else numbers.get("rank", 16)
        rate = auto_learning_rate(self.adaptation.kind, self.base.hidden_size, rank)
        if self.method in ("dpo", "kto"):
            rate *= DPO_RATE_SHARE
        elif self.method == "reinforcement":
            rate *= REINFORCEMENT_RATE_SHARE
        return rate * multiplier

    def exploration(self, num_steps: int) -> Exploration | None:
        """How answers are tried; None for other methods than reinforcement."""
        if self.method != "reinforcement":
            return None
        return Exploration.auto(self.wanted.exploration, num_steps=num_steps, context_length=self.limit)

    def imitation(self, teacher: str | None) -> Imitation | None:
        """How a teacher's logits are learned from; None where nobody's are."""
        if teacher is None:
            return None
        return Imitation.auto(
            self.wanted.imitation,
            teacher=teacher,
            has_answers=self.dataset.have_answers,
            context_length=self.limit,
        )

    def course(self) -> dict[str, Any]:
        """The optimiser, and the course of its rate."""
        wanted, is_text = self.wanted, self.method == "text"
        return {
            "optimizer": self._optimizer(),
            "schedule": wanted.schedule or ("wsd" if is_text else "linear"),
            "decay_share": wanted.decay_share or 0.2,
            "warmup_share": _given(wanted.warmup_share, 0.05),
            "weight_decay": _given(wanted.weight_decay, 0.0),
            "max_grad_norm": wanted.max_grad_norm or 1.0,
            "beta2": 0.95 if is_text else 0.999,
        }

    def ending(self, num_steps: int) -> dict[str, Any]:
        """When training stops, and with which weights."""
        wanted = self.wanted
        every = wanted.look_every_steps or (max(1, num_steps // NUM_LOOKS) if wanted.patience else 0)
        return {
            "patience": self._patience(),
            "look_every_steps": every,
            "average_share": wanted.average_share or 0.0,
            "adapter_scale": self._adapter_scale(),
        }

    def _batch_size_and_epochs(self) -> tuple[int, int]:
        wanted, dataset = self.wanted, self.dataset
        if self.method == "text":
            batch_size = wanted.batch_size or max(1, TEXT_STEP_TOKENS // self.limit)
            return batch_size, wanted.num_epochs or auto_text_epochs(dataset.num_tokens)
        if self.method == "reinforcement":
            batch_size = wanted.batch_size or auto_prompts(dataset.num_examples)
            return batch_size, wanted.num_epochs or auto_rounds(dataset.num_examples, batch_size)
        batch_size = wanted.batch_size or auto_batch_size(dataset.num_examples)
        num_epochs = auto_epochs(dataset.num_examples, batch_size, self.base.num_parameters)
        return batch_size, wanted.num_epochs or num_epochs

    def _num_replayed(self) -> int:
        """General examples of each epoch, such that they are the wanted share of all."""
        share = self.wanted.replay_share
        if share is None:
            return 0
        if self.method not in WITH_REPLAY:
            raise InvalidRequest(
                f"General data can be mixed into the methods {' and '.join(WITH_REPLAY)}, "
                f"not into {self.method}.",
                param="tailor.replay",
                remedy="Leave it out.",
            )
        return min(round(share / (1 - share) * self.dataset.num_examples), self.dataset.num_replay)

    def _patience(self) -> int:
        if self.wanted.patience and self.method == "reinforcement":
            raise InvalidRequest(
                "Reinforcement does not stop early: its three best checkpoints are kept instead.",
                param="tailor.early_stopping",
                remedy="Leave it out, and compare the checkpoints' full_valid_mean_reward.",
            )
        if self.wanted.patience and self.wanted.average_share:
            raise InvalidRequest(
                "Training ends with the best weights or with the mean of the last ones, not with both.",
                param="tailor.average_share",
                remedy="Leave out early_stopping or average_share.",
            )
        return self.wanted.patience or 0

    def _adapter_scale(self) -> float:
        if self.wanted.adapter_scale is not None and self.adaptation.kind != "lora":
            raise InvalidRequest(
                f"Only a LoRA adapter can be scaled, not one of type {self.adaptation.kind!r}.",
                param="tailor.adapter_scale",
                remedy="Leave it out, or train a LoRA adapter.",
            )
        return _given(self.wanted.adapter_scale, 1.0)

    def _optimizer(self) -> str:
        if self.wanted.optimizer == "muon" and self.adaptation.kind != "full":
            raise InvalidRequest(
                "The optimiser 'muon' is for training all weights, but an adapter is wanted.",
                param="tailor.optimizer",
                remedy='Use "adamw", or set "adapter": {"type": "full"}.',
            )
        return self.wanted.optimizer or "adamw"


def losses_of(wanted: Wanted) -> dict[str, Any]:
    """What pairs, opinions and rewards are weighed by."""
    margin = 0.5 if wanted.preference_loss == "simpo" else 0.0
    return {
        "preference_loss": wanted.preference_loss or "sigmoid",
        "beta": wanted.beta or 0.1,
        "preference_margin": _given(wanted.preference_margin, margin),
        "opinion_loss": wanted.opinion_loss or "kto",
        "desirable_weight": _given(wanted.desirable_weight, 1.0),
        "undesirable_weight": _given(wanted.undesirable_weight, 1.0),
        "reward_center": _given(wanted.reward_center, 0.0),
    }


def shard_size(batch_size: int, exploration: Exploration | None) -> int:
    """Examples whose gradient is computed by itself; answers to one prompt stay in one shard."""
    if exploration is None:
        return auto_shard_size(batch_size)
    return exploration.group_size * math.ceil(batch_size / 2)


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
