"""The recipe: every number that changes the resulting weights, resolved before training starts.

The wire allows "auto" and absent values (`wanted.Wanted`); a `Recipe` holds neither.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tailor.errors import InvalidRequest
from tailor.models import Method, Quantization, make_method
from tailor.models.catalogue import BaseFacts
from tailor.training.adaptation import Adaptation, adapter_numbers
from tailor.training.exploration import AUTO_GROUP_SIZE, Exploration
from tailor.training.imitation import Imitation
from tailor.training.rules import (
    DPO_RATE_SHARE,
    NUM_LOOKS,
    REINFORCEMENT_RATE_SHARE,
    TEXT_STEP_TOKENS,
    WITH_REPLAY,
    auto_batch_size,
    auto_dtype,
    auto_epochs,
    auto_learning_rate,
    auto_prompts,
    auto_rank,
    auto_rounds,
    auto_shard_size,
    auto_text_epochs,
)
from tailor.training.wanted import AdapterKind, Wanted


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
class Recipe:
    """How to train: everything that changes the resulting weights."""

    num_epochs: int
    """Passes over the dataset."""

    batch_size: int
    """Examples per optimiser step; the last step of an epoch may have fewer."""

    num_steps: int
    """Optimiser steps in all; fewer than the epochs have if the caller set a limit."""

    method: str = "supervised"
    """What is learned: the answers of conversations (supervised), every token of plain text (text), which of
    two answers is better (dpo), to tell which is (reward_model), which answers are liked (kto), what a grader
    rewards (reinforcement), or what another model says (distillation)."""

    preference_loss: str = "sigmoid"
    """Loss of a pair for the method dpo, one of `preferences.LOSSES`."""

    beta: float = 0.1
    """How strongly a preference counts against staying with the reference."""

    preference_margin: float = 0.0
    """Lead that simpo wants for the preferred answer."""

    opinion_loss: str = "kto"
    """Loss of an answer that was liked or not, for the method kto; see `opinions`."""

    desirable_weight: float = 1.0
    """What an answer to give counts."""

    undesirable_weight: float = 1.0
    """What an answer not to give counts."""

    reward_center: float = 0.0
    """Price of a reward model's rewards being far from 0."""

    optimizer: str = "adamw"
    """AdamW for all weights, or Muon for the matrices between embedding and output layer."""

    learning_rate: float
    """Peak rate, multiplier included."""

    learning_rate_multiplier: float = 1.0
    """The wire's factor on our own rate; already in `learning_rate`."""

    schedule: str = "linear"
    """Course of the rate after warm-up: linear or cosine to zero, constant, or wsd: constant, then linear."""

    decay_share: float = 0.2
    """Last part of all steps, over which a wsd schedule falls to zero."""

    warmup_share: float = 0.05
    """Part of all steps over which the rate rises from zero."""

    weight_decay: float = 0.0
    """Decoupled weight decay per step, times the rate."""

    max_grad_norm: float = 1.0
    """Longer gradients are shortened to this global norm."""

    beta1: float = 0.9
    """AdamW's decay of the mean gradient."""

    beta2: float = 0.999
    """AdamW's decay of the squared gradient."""

    seed: int = 0
    """Source of all randomness: data order, adapter start, dropout."""

    adapter: AdapterKind = "lora"
    """What is trained: an adapter of this kind, or all weights (full)."""

    rank: int = 16
    """Inner width of LoRA and DoRA."""

    alpha: float = 32.0
    """LoRA's output is scaled by alpha / rank."""

    rslora: bool = False
    """By alpha / root of the rank instead."""

    targets: tuple[str, ...] = ()
    """Linear layers with an adapter, by last name; empty: those that the kind is made for."""

    dropout: float = 0.0
    """Share of adapter inputs dropped."""

    size: int = 64
    """Inner width of bottleneck adapters."""

    num_virtual_tokens: int = 16
    """Length of a trained prefix."""

    quantization: Quantization | None = None
    """How the frozen base is rounded."""

    recompute_activations: bool = False
    """Compute activations twice instead of remembering them."""

    dtype: str = "float32"
    """Type of the arithmetic; trained weights are always kept in float32."""

    max_context_tokens: int
    """Longer examples lose their end."""

    max_microbatch_tokens: int = 4096
    """Tokens computed at once; bounds memory."""

    shard_size: int = 8
    """Examples whose gradient is computed by itself before the fixed-tree sum."""

    checkpoint_every_steps: int
    """Steps between checkpoints."""

    replay: str = ""
    """Fingerprint of the general data that is mixed in; empty: none is."""

    num_replayed: int = 0
    """Examples of it in each epoch."""

    patience: int = 0
    """Early stopping: looks at the held-out examples in vain, in a row, that end training; 0: never."""

    look_every_steps: int = 0
    """Steps between two such looks, beside those at epochs' ends; 0: no others."""

    average_share: float = 0.0
    """Last part of all steps, after each of which the weights count in the mean that training ends with."""

    adapter_scale: float = 1.0
    """How much of the trained LoRA update the saved version has: less forgets less, and knows less."""

    exploration: Exploration | None = None
    """How answers are tried and rewarded; None for other methods than reinforcement."""

    imitation: Imitation | None = None
    """How a teacher's logits are learned from; None for other methods, and for a teacher's answers alone."""

    @property
    def adapter_method(self) -> Method:
        """The adapter to attach; there is none where all weights are trained."""
        return make_method(self.adapter, adapter_numbers(self))

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all values; a checkpoint only resumes under the same digest."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self) | {"targets": list(self.targets)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` wrote."""
        known = {field.name for field in fields(cls)}
        given = {name: value for name, value in values.items() if name in known}
        if given.get("exploration") is not None:
            given["exploration"] = Exploration(**given["exploration"])
        if given.get("imitation") is not None:
            given["imitation"] = Imitation(**given["imitation"])
        return cls(**{**given, "targets": tuple(values["targets"])})

    def learning_rate_at(self, update: int) -> float:
        """Rate of the `update`-th optimiser update, counted from 0."""
        num_warmup = math.ceil(self.num_steps * self.warmup_share)
        if update < num_warmup:
            return self.learning_rate * (update + 1) / (num_warmup + 1)
        num_falling = self.num_steps - num_warmup
        if self.schedule == "wsd":
            num_falling = min(num_falling, math.ceil(self.num_steps * self.decay_share))
        left = min(1.0, max(0.0, (self.num_steps - update) / max(1, num_falling)))
        if self.schedule in ("linear", "wsd"):
            return self.learning_rate * left
        if self.schedule == "cosine":
            return self.learning_rate * 0.5 * (1 - math.cos(math.pi * left))
        return self.learning_rate

    def wire_hyperparameters(self) -> dict[str, Any]:
        """The values that OpenAI's API shows once resolved."""
        values = {
            "n_epochs": self.num_epochs,
            "batch_size": self.batch_size,
            "learning_rate_multiplier": self.learning_rate_multiplier,
        }
        if self.exploration is not None:
            return values | {
                "compute_multiplier": self.exploration.group_size / AUTO_GROUP_SIZE,
                "eval_interval": self.exploration.eval_interval,
                "eval_samples": self.exploration.eval_samples,
            }
        return values | ({"beta": self.beta} if self.method in ("dpo", "kto") else {})

    @classmethod
    def auto(
        cls,
        dataset: DatasetFacts,
        base: BaseFacts,
        wanted: Wanted | None = None,
        *,
        seed: int,
        method: str = "supervised",
        native_dtype: str = "float32",
        parent: Path | None = None,
        teacher: str | None = None,
    ) -> Recipe:
        """Resolve everything that the caller left open; the rules and their reasons are in docs/training.md.

        Adapter: LoRA; a version that is trained further keeps the kind and shape it has (`parent` is its
        directory). The rest: `auto_rank`, `auto_epochs`, `auto_batch_size`, `auto_learning_rate`.
        `teacher` is the digest of the weights whose logits are learned from.

        Raises:
            InvalidRequest: the adapter asked for is not the one that the parent version has.
        """
        wanted = wanted or Wanted()
        adaptation = Adaptation.auto(wanted, parent, auto_rank(base.num_parameters))
        kind, numbers = adaptation.kind, adaptation.numbers
        room = base.context_length - (numbers["num_virtual_tokens"] if kind == "prefix" else 0)
        limit = min(wanted.max_context_tokens or room, room)
        if method == "text":
            batch_size = wanted.batch_size or max(1, TEXT_STEP_TOKENS // limit)
            num_epochs = wanted.num_epochs or auto_text_epochs(dataset.num_tokens)
        elif method == "reinforcement":
            batch_size = wanted.batch_size or auto_prompts(dataset.num_examples)
            num_epochs = wanted.num_epochs or auto_rounds(dataset.num_examples, batch_size)
        else:
            batch_size = wanted.batch_size or auto_batch_size(dataset.num_examples)
            num_epochs = wanted.num_epochs or auto_epochs(
                dataset.num_examples, batch_size, base.num_parameters
            )
        multiplier = wanted.learning_rate_multiplier or 1.0
        rate = wanted.learning_rate or auto_learning_rate(
            kind, base.hidden_size, 16 if numbers.get("rslora") else numbers.get("rank", 16)
        )
        if method in ("dpo", "kto") and wanted.learning_rate is None:
            rate *= DPO_RATE_SHARE
        num_replayed = _num_replayed(wanted, dataset, method)
        steps_per_epoch = math.ceil((dataset.num_examples + num_replayed) / batch_size)
        num_steps = min(num_epochs * steps_per_epoch, wanted.max_steps or num_epochs * steps_per_epoch)
        exploration = None
        if method == "reinforcement":
            exploration = Exploration.auto(wanted.exploration, num_steps=num_steps, context_length=limit)
            rate = wanted.learning_rate or rate * REINFORCEMENT_RATE_SHARE
        return cls(
            num_epochs=math.ceil(num_steps / steps_per_epoch),
            batch_size=batch_size,
            num_steps=num_steps,
            method=method,
            preference_loss=wanted.preference_loss or "sigmoid",
            beta=wanted.beta or 0.1,
            preference_margin=_given(
                wanted.preference_margin, 0.5 if wanted.preference_loss == "simpo" else 0.0
            ),
            opinion_loss=wanted.opinion_loss or "kto",
            desirable_weight=_given(wanted.desirable_weight, 1.0),
            undesirable_weight=_given(wanted.undesirable_weight, 1.0),
            reward_center=_given(wanted.reward_center, 0.0),
            optimizer=_optimizer(wanted, kind),
            learning_rate=rate * multiplier,
            learning_rate_multiplier=multiplier,
            schedule=wanted.schedule or ("wsd" if method == "text" else "linear"),
            decay_share=wanted.decay_share or 0.2,
            warmup_share=_given(wanted.warmup_share, 0.05),
            weight_decay=_given(wanted.weight_decay, 0.0),
            max_grad_norm=wanted.max_grad_norm or 1.0,
            beta2=0.95 if method == "text" else 0.999,
            seed=seed,
            adapter=kind,
            quantization=adaptation.quantization,
            # Who rounds the base is short of memory, and activations are the rest of it.
            recompute_activations=adaptation.quantization is not None
            if wanted.recompute_activations is None
            else wanted.recompute_activations,
            **numbers,
            dtype=wanted.dtype or auto_dtype(base.num_parameters, native_dtype),
            max_context_tokens=limit,
            # Answers to one prompt stay in one shard, where the prompt is computed once.
            shard_size=(exploration.group_size if exploration else 1)
            * (math.ceil(batch_size / 2) if exploration else auto_shard_size(batch_size)),
            checkpoint_every_steps=wanted.checkpoint_every_steps or steps_per_epoch,
            replay=dataset.replay if num_replayed else "",
            num_replayed=num_replayed,
            patience=_patience(wanted, method),
            look_every_steps=_look_every_steps(wanted, num_steps),
            average_share=wanted.average_share or 0.0,
            adapter_scale=_adapter_scale(wanted, kind),
            exploration=exploration,
            imitation=None
            if teacher is None
            else Imitation.auto(
                wanted.imitation,
                teacher=teacher,
                has_answers=dataset.have_answers,
                context_length=limit,
            ),
        )


def _num_replayed(wanted: Wanted, dataset: DatasetFacts, method: str) -> int:
    """General examples of each epoch, such that they are the wanted share of all."""
    if wanted.replay_share is None:
        return 0
    if method not in WITH_REPLAY:
        raise InvalidRequest(
            f"General data can be mixed into the methods {' and '.join(WITH_REPLAY)}, not into {method}.",
            param="tailor.replay",
            remedy="Leave it out.",
        )
    count = round(wanted.replay_share / (1 - wanted.replay_share) * dataset.num_examples)
    return min(count, dataset.num_replay)


def _patience(wanted: Wanted, method: str) -> int:
    if wanted.patience and method == "reinforcement":
        raise InvalidRequest(
            "Reinforcement does not stop early: its three best checkpoints are kept instead.",
            param="tailor.early_stopping",
            remedy="Leave it out, and compare the checkpoints' full_valid_mean_reward.",
        )
    if wanted.patience and wanted.average_share:
        raise InvalidRequest(
            "Training ends with the best weights or with the mean of the last ones, not with both.",
            param="tailor.average_share",
            remedy="Leave out early_stopping or average_share.",
        )
    return wanted.patience or 0


def _look_every_steps(wanted: Wanted, num_steps: int) -> int:
    return wanted.look_every_steps or (max(1, num_steps // NUM_LOOKS) if wanted.patience else 0)


def _adapter_scale(wanted: Wanted, kind: AdapterKind) -> float:
    if wanted.adapter_scale is not None and kind != "lora":
        raise InvalidRequest(
            f"Only a LoRA adapter can be scaled, not one of type {kind!r}.",
            param="tailor.adapter_scale",
            remedy="Leave it out, or train a LoRA adapter.",
        )
    return _given(wanted.adapter_scale, 1.0)


def _optimizer(wanted: Wanted, kind: AdapterKind) -> str:
    if wanted.optimizer == "muon" and kind != "full":
        raise InvalidRequest(
            "The optimiser 'muon' is for training all weights, but an adapter is wanted.",
            param="tailor.optimizer",
            remedy='Use "adamw", or set "adapter": {"type": "full"}.',
        )
    return wanted.optimizer or "adamw"


def _given(value: float | None, default: float) -> float:
    return default if value is None else value
