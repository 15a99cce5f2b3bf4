"""The four verbs of training: forward_backward, step, save - and state, to go on later.

(Sampling, the fourth verb of the published seam, is `tailor.inference`.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from tailor.errors import InvalidRequest
from tailor.models import (
    LoadedModel,
    Lora,
    adapter_parameters,
    attach,
    dropouts,
    load_adapter,
    load_base,
    recompute_activations,
    release_cached,
    save_adapter,
    save_full,
)
from tailor.training.batches import Trainable, microbatches_of, shards_of
from tailor.training.distillation import DistillationObjective, same_tokens
from tailor.training.foreign_teacher import ForeignTeacherObjective
from tailor.training.keeping import Kept
from tailor.training.objective import Figures, LikelihoodObjective, Objective
from tailor.training.opinions import OpinionObjective, TokenizedOpinion
from tailor.training.optimizers import make_optimizers
from tailor.training.output import is_packed
from tailor.training.preferences import PreferenceObjective
from tailor.training.recipe import Recipe
from tailor.training.reinforcement import ReinforcementObjective
from tailor.training.reward_models import HEAD_NAME, RewardObjective, new_head, save_head
from tailor.training.shards import Gradients, ShardResult, added, shard_results, tree_sum


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What one forward and backward pass over a step's examples gave."""

    loss: float
    """Mean loss per unit of loss weight, in nats."""

    accuracy: float
    """Share of targets that were the likeliest token."""

    num_tokens: int
    """Tokens of the examples, prompts included."""

    gradient_norm: float
    """Global norm before clipping."""

    figures: Mapping[str, float] = field(default_factory=dict)
    """Further means that the objective reports."""

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are usable."""
        return all(torch.tensor([self.loss, self.gradient_norm]).isfinite().tolist())


class Learner:
    """A model with its trainable weights, gradients and optimiser."""

    def __init__(
        self,
        loaded: LoadedModel,
        recipe: Recipe,
        *,
        base: Path,
        parent: Path | None = None,
        teacher: LoadedModel | None = None,
    ) -> None:
        self.loaded, self.recipe, self.base = loaded, recipe, base
        self.parameters: dict[str, Tensor] = adapter_parameters(loaded.model)
        if recipe.method == "reward_model":
            self.parameters[HEAD_NAME] = new_head(loaded, parent)
        # bf16 rounding hides updates below 0.4 %, so the optimiser works on float32 copies.
        self.masters: dict[str, Tensor] = {
            name: torch.nn.Parameter(parameter.detach().to(torch.float32, copy=True))
            for name, parameter in self.parameters.items()
        }
        self.optimizers = make_optimizers(self.masters, recipe, tables=_tables(loaded, self.parameters))
        self.kept = Kept(self.masters)
        """Beside them: the best so far, or the mean of the last ones."""
        self.gradients: Gradients = []
        """Of the last `forward_backward`, in the order of `parameters`; gone after `step`."""
        self.objective = _objective(recipe, self.parameters, loaded, teacher)
        self._dropouts = dropouts(loaded.model)
        if recipe.recompute_activations:
            recompute_activations(loaded.model)

    @classmethod
    def open(
        cls,
        base: Path,
        recipe: Recipe,
        *,
        parent: Path | None = None,
        teacher: LoadedModel | None = None,
        device: torch.device | str | None = None,
    ) -> Learner:
        """Load the base (or a full version to train further) and make the recipe's weights trainable.

        `parent` is the directory of the version to go on from; `base` stays the directory of its base.
        `teacher` is whose logits are learned from, where the recipe has an imitation. `device` as in
        `models.choose_device`; gradients and the optimiser's state are there too.
        """
        if recipe.adapter == "full":
            directory = parent or base
            loaded = load_base(directory, dtype=recipe.dtype, device=device)
            loaded.model.requires_grad_(True)
            return cls(loaded, recipe, base=directory, parent=parent, teacher=teacher)
        loaded = load_base(base, dtype=recipe.dtype, quantization=recipe.quantization, device=device)
        if parent is not None:
            load_adapter(loaded, parent, dropout=recipe.dropout)
        else:
            attach(loaded, recipe.adapter_method, seed=recipe.seed)
        return cls(loaded, recipe, base=base, parent=parent, teacher=teacher)

    def forward_backward(
        self,
        examples: Sequence[Trainable],
        *,
        step: int,
        max_microbatch_tokens: int | None = None,
        on_microbatch: Callable[[], None] | None = None,
    ) -> StepResult:
        """Loss and gradient of one optimiser step.

        The gradient is that of the mean loss over the whole step. Each shard's gradient is computed by
        itself; shards are summed in a tree that depends on their number alone. `on_microbatch` is called
        before each micro-batch; what it raises ends the step, which then can be done again.

        Raises:
            torch.OutOfMemoryError: try again with a smaller `max_microbatch_tokens`; the result is the same
                up to rounding.
        """
        self._begin(examples, max_microbatch_tokens, on_microbatch)
        self._set_dropout(True)
        try:
            return self._gradient_of(examples, step, max_microbatch_tokens, on_microbatch)
        finally:
            self._set_dropout(False)

    def measure_reference(
        self, items: Sequence[Trainable], *, tick: Callable[[], None] = lambda: None
    ) -> None:
        """Let the objective look at the model as it is before its first step: call it before `load_state`.

        `tick` is called before each part of the work; what it raises ends it.
        """
        room = self.recipe.max_microbatch_tokens
        self.objective.prepare(self.loaded, items, max_tokens=room, tick=tick)

    def evaluate(
        self, items: Sequence[Trainable], *, on_microbatch: Callable[[], None] | None = None
    ) -> Figures:
        """The objective over items, without training on them."""
        total = Figures()
        self._begin(items, None, on_microbatch)
        by_length = sorted(items, key=lambda item: item.num_tokens)
        room, share = self.recipe.max_microbatch_tokens, is_packed(self.loaded)
        with torch.no_grad():
            for group in microbatches_of(by_length, room, share=share):
                if on_microbatch is not None:
                    on_microbatch()
                total += self.objective.part(self.loaded, group).figures
        return total.settled()

    def _begin(
        self,
        items: Sequence[Trainable],
        max_microbatch_tokens: int | None,
        on_microbatch: Callable[[], None] | None,
    ) -> None:
        """Let the objective measure what all items have in common, before they are computed in parts."""
        if isinstance(self.objective, OpinionObjective):
            room = max_microbatch_tokens or self.recipe.max_microbatch_tokens
            opinions = cast("Sequence[TokenizedOpinion]", items)
            tick = on_microbatch or (lambda: None)
            self.objective.begin(self.loaded, opinions, max_tokens=room, tick=tick)

    def _gradient_of(
        self,
        examples: Sequence[Trainable],
        step: int,
        max_microbatch_tokens: int | None,
        on_microbatch: Callable[[], None] | None,
    ) -> StepResult:
        total_weight = sum(example.total_weight for example in examples)
        room = max_microbatch_tokens or self.recipe.max_microbatch_tokens

        def compute(index: int, shard: Sequence[Trainable]) -> ShardResult:
            seed = (self.recipe.seed, step, index)
            groups = microbatches_of(shard, room, share=is_packed(self.loaded))
            return self._gradient_of_shard(groups, seed, total_weight, on_microbatch)

        shards = shards_of(examples, self.recipe.shard_size)
        total = Figures()

        def gradients() -> Iterator[Gradients]:
            nonlocal total
            for result in shard_results(compute, shards, num_workers=self._num_workers(len(shards))):
                total += result.figures
                yield result.gradients

        self.gradients = tree_sum(gradients())
        norm = torch.nn.utils.get_total_norm(self.gradients)
        total = total.settled()
        return StepResult(
            loss=total.loss_sum / total_weight,
            accuracy=total.num_right / total.num_targets,
            figures={name: value / total_weight for name, value in total.more.items()},
            num_tokens=sum(example.num_tokens for example in examples),
            gradient_norm=float(norm),
        )

    def _gradient_of_shard(
        self,
        groups: Sequence[Sequence[Trainable]],
        seed: tuple[int, ...],
        total_weight: float,
        on_microbatch: Callable[[], None] | None,
    ) -> ShardResult:
        gradients: Gradients = []
        total = Figures()
        for micro, group in enumerate(groups):
            if on_microbatch is not None:
                on_microbatch()
            if self._dropouts:
                torch.manual_seed(_seed_of(*seed, micro))
            part = self.objective.part(self.loaded, group)
            gradients = added(gradients, self._backward(part.total / total_weight))
            total += part.figures
        return ShardResult(gradients=gradients, figures=total)

    def _num_workers(self, num_shards: int) -> int:
        """Shards computed side by side; one where they would share a random state, or there are too few."""
        num_threads = torch.get_num_threads()
        is_alone = self.loaded.model.device.type != "cpu" or self.recipe.dropout > 0
        return 1 if is_alone or num_shards < num_threads else num_threads

    def step(self, learning_rate: float, *, gradient_norm: float) -> None:
        """Clip the gradient and move the weights."""
        scale = min(1.0, self.recipe.max_grad_norm / (gradient_norm + 1e-6))
        if scale < 1.0:
            torch._foreach_mul_(self.gradients, scale)
        for master, gradient in zip(self.masters.values(), self.gradients, strict=True):
            master.grad = gradient
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.gradients = []
        self._publish_masters()

    def release_memory(self) -> None:
        """Give back what a step left that ran out of memory."""
        self.gradients = []
        release_cached(self.loaded.model.device)

    def save(self, directory: Path, *, base_name: str = "") -> None:
        """Write the trained version: an adapter in PEFT's format, or a complete model.

        Raises:
            InvalidRequest: a weight is not finite (`code` is non_finite_weights).
        """
        for name, master in self.masters.items():
            if not torch.isfinite(master).all():
                raise InvalidRequest(
                    f"Weight {name!r} is not finite, so the model is not saved.",
                    code="non_finite_weights",
                    remedy="Train with a smaller learning_rate_multiplier.",
                )
        weights = dict(self.masters)
        if (head := weights.pop(HEAD_NAME, None)) is not None:
            save_head(directory, head)
        if self.recipe.adapter == "full":
            save_full(directory, self.loaded, weights, base=self.base)
            return
        method = self.recipe.adapter_method
        if isinstance(method, Lora):
            method = replace(method, alpha=method.alpha * self.recipe.adapter_scale)
        save_adapter(
            directory,
            weights,
            method,
            base_name=base_name,
            quantization=self.recipe.quantization,
        )

    def state(self) -> dict[str, Tensor]:
        """Trainable weights and optimiser state by name, all that a checkpoint must hold besides counters."""
        state = {f"weight/{name}": master.detach() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(master, {}).items():
                    state[f"optimizer/{key}/{name}"] = value
        return state | self.kept.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        for name, master in self.masters.items():
            with torch.no_grad():
                master.copy_(state[f"weight/{name}"])
        names = {id(master): name for name, master in self.masters.items()}
        for optimizer in self.optimizers:
            optimizer.state.clear()
            for group in optimizer.param_groups:
                for master in group["params"]:
                    # The count of steps is on the card only where the optimiser reads it there.
                    places = {"step": master.device if group.get("fused") else torch.device("cpu")}
                    if kept := _kept(state, names[id(master)]):
                        optimizer.state[master] = {
                            key: value.to(places.get(key, master.device)) for key, value in kept.items()
                        }
        self.kept.load_state(state)
        self._publish_masters()

    def settle(self) -> None:
        """End with the weights that were kept, if there are any; done again it changes nothing."""
        self.kept.restore()
        self._publish_masters()

    def _backward(self, loss: Tensor) -> Gradients:
        # A model that judges leaves its output layer aside, which full training has among its weights.
        is_whole = self.recipe.method != "reward_model"
        gradients = torch.autograd.grad(
            loss, list(self.parameters.values()), allow_unused=not is_whole, materialize_grads=not is_whole
        )
        return [gradient.float() for gradient in gradients]

    def _set_dropout(self, is_on: bool) -> None:
        for module in self._dropouts:
            module.train(is_on)

    @torch.no_grad()
    def _publish_masters(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(self.masters[name])


def _objective(
    recipe: Recipe, parameters: Mapping[str, Tensor], loaded: LoadedModel, teacher: LoadedModel | None
) -> Objective:
    if recipe.imitation is not None:
        if teacher is None:
            raise TypeError("there is nobody to imitate")
        if same_tokens(loaded.template, teacher.template):
            return DistillationObjective(recipe.imitation, teacher)
        return ForeignTeacherObjective(recipe.imitation, loaded, teacher)
    if recipe.method == "reward_model":
        return RewardObjective(parameters[HEAD_NAME], center=recipe.reward_center)
    if recipe.exploration is not None:
        return ReinforcementObjective(recipe.exploration)
    if recipe.method == "kto":
        return OpinionObjective(recipe)
    return PreferenceObjective(recipe) if recipe.method == "dpo" else LikelihoodObjective()


def _tables(loaded: LoadedModel, parameters: Mapping[str, Tensor]) -> frozenset[str]:
    """Names of the trained token tables: embedding and output layer; the head of a reward model is as one."""
    ends = (loaded.model.get_input_embeddings().weight, loaded.head.weight)
    tables = {name for name, each in parameters.items() if any(each is end for end in ends)}
    return frozenset(tables | ({HEAD_NAME} & parameters.keys()))


def _kept(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """What an optimiser remembers of a weight."""
    parts = (key.split("/", 2) for key in state if key.startswith("optimizer/"))
    return {key: state[f"optimizer/{key}/{name}"].clone() for _, key, owner in parts if owner == name}


def _seed_of(*parts: int) -> int:
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
