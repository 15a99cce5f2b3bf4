"""The four verbs of training: forward_backward, step, save - and state, to go on later.

(Sampling, the fourth verb of the published seam, is `tailor.inference`.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tailor.errors import InvalidRequest
from tailor.models import (
    LoadedModel,
    adapter_parameters,
    attach_lora,
    load_adapter,
    load_base,
    save_adapter,
    save_full,
)
from tailor.training.batches import TokenizedExample, microbatches_of, pack, shards_of
from tailor.training.objective import supervised_losses
from tailor.training.recipe import Recipe

Gradients = list[Tensor]


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

    @property
    def is_finite(self) -> bool:
        """Whether loss and gradient are usable."""
        return all(torch.tensor([self.loss, self.gradient_norm]).isfinite().tolist())


class Learner:
    """A model with its trainable weights, gradients and optimiser."""

    def __init__(self, loaded: LoadedModel, recipe: Recipe, *, base: Path) -> None:
        self.loaded, self.recipe, self.base = loaded, recipe, base
        self.parameters: dict[str, Tensor] = adapter_parameters(loaded.model)
        # bf16 rounding hides updates below 0.4 %, so the optimiser works on float32 copies.
        self.masters: dict[str, Tensor] = {
            name: torch.nn.Parameter(parameter.detach().to(torch.float32, copy=True))
            for name, parameter in self.parameters.items()
        }
        self.optimizer = torch.optim.AdamW(
            self.masters.values(),
            lr=recipe.learning_rate,
            betas=(recipe.beta1, recipe.beta2),
            weight_decay=recipe.weight_decay,
            foreach=True,
        )
        self.gradients: Gradients = []
        """Of the last `forward_backward`, in the order of `parameters`; gone after `step`."""
        self._dropouts = [m for name, m in loaded.model.named_modules() if "lora_dropout" in name]

    @classmethod
    def open(cls, base: Path, recipe: Recipe, *, parent: Path | None = None) -> Learner:
        """Load the base (or a full version to train further) and make the recipe's weights trainable.

        `parent` is the directory of the version to go on from; `base` stays the directory of its base.
        """
        if recipe.adapter == "full":
            directory = parent or base
            loaded = load_base(directory, dtype=recipe.dtype)
            loaded.model.requires_grad_(True)
            return cls(loaded, recipe, base=directory)
        loaded = load_base(base, dtype=recipe.dtype)
        if parent is not None:
            load_adapter(loaded, parent, dropout=recipe.dropout)
        else:
            attach_lora(loaded, recipe.lora_shape, seed=recipe.seed)
        return cls(loaded, recipe, base=base)

    def forward_backward(
        self, examples: Sequence[TokenizedExample], *, step: int, max_microbatch_tokens: int | None = None
    ) -> StepResult:
        """Loss and gradient of one optimiser step.

        The gradient is that of the mean loss over the whole step. Each shard's gradient is computed by
        itself; shards are summed in a tree that depends on their number alone.

        Raises:
            torch.OutOfMemoryError: try again with a smaller `max_microbatch_tokens`; the result is the same
                up to rounding.
        """
        self._set_dropout(True)
        try:
            return self._gradient_of(examples, step, max_microbatch_tokens)
        finally:
            self._set_dropout(False)

    def _gradient_of(
        self, examples: Sequence[TokenizedExample], step: int, max_microbatch_tokens: int | None
    ) -> StepResult:
        total_weight = sum(example.total_weight for example in examples)
        room = max_microbatch_tokens or self.recipe.max_microbatch_tokens
        sums: list[tuple[int, Gradients]] = []
        loss_sum, num_right, num_targets = 0.0, 0, 0
        for index, shard in enumerate(shards_of(examples, self.recipe.shard_size)):
            gradients: Gradients = []
            for micro, group in enumerate(microbatches_of(shard, room)):
                torch.manual_seed(_seed_of(self.recipe.seed, step, index, micro))
                losses = supervised_losses(self.loaded, pack(group))
                _accumulate(gradients, self._backward(losses.total / total_weight))
                loss_sum += float(losses.total.detach())
                num_right += int(losses.is_right_N.sum())
                num_targets += len(losses.is_right_N)
            _push(sums, gradients)
        while len(sums) > 1:
            (_, right), (level, left) = sums.pop(), sums.pop()
            sums.append((level, _added(left, right)))
        self.gradients = sums[0][1]
        norm = torch.nn.utils.get_total_norm(self.gradients)
        return StepResult(
            loss=loss_sum / total_weight,
            accuracy=num_right / num_targets,
            num_tokens=sum(example.num_tokens for example in examples),
            gradient_norm=float(norm),
        )

    def step(self, learning_rate: float, *, gradient_norm: float) -> None:
        """Clip the gradient and move the weights."""
        scale = min(1.0, self.recipe.max_grad_norm / (gradient_norm + 1e-6))
        if scale < 1.0:
            torch._foreach_mul_(self.gradients, scale)
        for master, gradient in zip(self.masters.values(), self.gradients, strict=True):
            master.grad = gradient
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.gradients = []
        self._publish_masters()

    def save(self, directory: Path, *, base_name: str = "") -> None:
        """Write the trained version: a PEFT adapter, or a complete model.

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
        if self.recipe.adapter == "lora":
            save_adapter(directory, self.masters, self.recipe.lora_shape, base_name=base_name)
        else:
            save_full(directory, self.loaded, self.masters, base=self.base)

    def state(self) -> dict[str, Tensor]:
        """Trainable weights and optimiser state by name, all that a checkpoint must hold besides counters."""
        state = {f"weight/{name}": master.detach() for name, master in self.masters.items()}
        for name, master in self.masters.items():
            for key, value in self.optimizer.state.get(master, {}).items():
                state[f"optimizer/{key}/{name}"] = value
        return state

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        optimizer: dict[Tensor, dict[str, Tensor]] = {}
        for name, master in self.masters.items():
            with torch.no_grad():
                master.copy_(state[f"weight/{name}"])
            optimizer[master] = {
                key.split("/", 2)[1]: value.clone()
                for key, value in state.items()
                if key.startswith("optimizer/") and key.split("/", 2)[2] == name
            }
        self.optimizer.state.clear()
        self.optimizer.state.update({master: values for master, values in optimizer.items() if values})
        self._publish_masters()

    def _backward(self, loss: Tensor) -> Gradients:
        gradients = torch.autograd.grad(loss, list(self.parameters.values()))
        return [gradient.float() for gradient in gradients]

    def _set_dropout(self, is_on: bool) -> None:
        for module in self._dropouts:
            module.train(is_on)

    @torch.no_grad()
    def _publish_masters(self) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(self.masters[name])


def _accumulate(total: Gradients, more: Gradients) -> None:
    if total:
        torch._foreach_add_(total, more)
    else:
        total.extend(more)


def _added(left: Gradients, right: Gradients) -> Gradients:
    torch._foreach_add_(left, right)
    return left


def _push(sums: list[tuple[int, Gradients]], gradients: Gradients) -> None:
    """Add a shard to a binary counter of partial sums: memory grows with the logarithm of the shards."""
    level = 0
    while sums and sums[-1][0] == level:
        gradients = _added(sums.pop()[1], gradients)
        level += 1
    sums.append((level, gradients))


def _seed_of(*parts: int) -> int:
    text = ":".join(map(str, parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
