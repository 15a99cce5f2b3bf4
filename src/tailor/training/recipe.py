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

from tailor.models import Method, Quantization, make_method
from tailor.models.catalogue import BaseFacts
from tailor.training.adaptation import adapter_numbers
from tailor.training.exploration import AUTO_GROUP_SIZE, Exploration
from tailor.training.imitation import Imitation
from tailor.training.resolving import DatasetFacts, Given, losses_of, shard_size
from tailor.training.rules import auto_dtype
from tailor.training.wanted import AdapterKind, Wanted


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
        given = Given.of(dataset, base, wanted, method=method, parent=parent)
        length = given.length()
        exploration = given.exploration(length.num_steps)
        adaptation = given.adaptation
        return cls(
            num_epochs=length.num_epochs,
            batch_size=length.batch_size,
            num_steps=length.num_steps,
            method=method,
            learning_rate=given.peak_rate(),
            learning_rate_multiplier=wanted.learning_rate_multiplier or 1.0,
            seed=seed,
            adapter=adaptation.kind,
            quantization=adaptation.quantization,
            # Who rounds the base is short of memory, and activations are the rest of it.
            recompute_activations=adaptation.quantization is not None
            if wanted.recompute_activations is None
            else wanted.recompute_activations,
            dtype=wanted.dtype or auto_dtype(base.num_parameters, native_dtype),
            max_context_tokens=given.limit,
            shard_size=shard_size(length.batch_size, exploration),
            checkpoint_every_steps=wanted.checkpoint_every_steps or length.steps_per_epoch,
            replay=dataset.replay if length.num_replayed else "",
            num_replayed=length.num_replayed,
            exploration=exploration,
            imitation=given.imitation(teacher),
            **adaptation.numbers,
            **losses_of(wanted),
            **given.course(),
            **given.ending(length.num_steps),
        )
