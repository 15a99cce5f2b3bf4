"""LoRA (Hu et al. 2021, arXiv:2106.09685): a low-rank update of each layer.

rsLoRA (Kalajdzievski 2023, arXiv:2312.03732) divides by the root of the rank instead of the rank, so that
high ranks keep learning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tailor.errors import InvalidRequest
from tailor.models.methods.linear import AdaptedLinear, LinearMethod, empty_linear, misfit
from tailor.models.quantized import QuantizedLinear

MAX_RANK = 128


@dataclass(frozen=True, kw_only=True, slots=True)
class Lora(LinearMethod):
    """Layer output += scaling x (dropout(input) A^T) B^T."""

    rank: int = 16
    """Inner width, 1 to 128."""

    alpha: float = 32.0
    """The update is scaled by alpha / rank."""

    targets: tuple[str, ...] = ()
    """Last names of the linear layers that get an adapter; empty: all of them except the output layer."""

    dropout: float = 0.0
    """Share of adapter inputs dropped in training."""

    rslora: bool = False
    """Scale by alpha / root of the rank."""

    is_dora: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= MAX_RANK:
            raise InvalidRequest(
                f"rank is {self.rank}, but must be between 1 and {MAX_RANK}.", param="tailor.adapter.rank"
            )

    @property
    def scaling(self) -> float:
        """Factor of the update."""
        return self.alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def chosen(self, names: set[str]) -> set[str]:
        """The targets, or all."""
        return set(self.targets) or names

    def layer(self, name: str, base_layer: nn.Linear | QuantizedLinear) -> LoraLinear:
        """A layer of two matrices."""
        return LoraLinear(base_layer, self.rank, self.scaling, self.dropout)

    def config(self, targets: list[str]) -> dict[str, Any]:
        """PEFT's `LoraConfig`."""
        return {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.alpha,
            "lora_dropout": self.dropout,
            "target_modules": targets,
            "bias": "none",
            "fan_in_fan_out": False,
            "init_lora_weights": True,
            "use_rslora": self.rslora,
            "use_dora": self.is_dora,
            "modules_to_save": None,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The method of a PEFT `LoraConfig`.

        Raises:
            InvalidRequest: it uses what we do not compute.
        """
        unsupported = (
            "rank_pattern",
            "alpha_pattern",
            "modules_to_save",
            "fan_in_fan_out",
            "layer_replication",
        )
        if any(config.get(key) for key in unsupported) or config.get("bias", "none") != "none":
            raise misfit("it is not a plain LoRA or DoRA adapter")
        rank, alpha, targets = config.get("r"), config.get("lora_alpha"), config.get("target_modules")
        if type(rank) is not int or not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise misfit("rank or alpha is not a number")
        if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
            raise misfit("target_modules is not a list of names")
        return cls(
            rank=rank,
            alpha=float(alpha),
            targets=tuple(sorted(targets)),
            dropout=float(config.get("lora_dropout") or 0.0),
            rslora=bool(config.get("use_rslora")),
        )


class LoraLinear(AdaptedLinear):
    """A frozen linear layer with one trainable low-rank update."""

    def __init__(
        self, base_layer: nn.Linear | QuantizedLinear, rank: int, scaling: float, dropout: float
    ) -> None:
        super().__init__(base_layer)
        place = self.place()
        self.lora_A = empty_linear(self.in_features, rank, bias=False, **place)
        self.lora_B = empty_linear(rank, self.out_features, bias=False, **place)
        self.dropout = nn.Dropout(dropout).eval()
        self.scaling = scaling

    @torch.no_grad()
    def draw(self) -> None:
        """A as PEFT draws it; B is zero, so nothing changes yet."""
        drawn = torch.empty(self.lora_A.weight.shape)
        self.lora_A.weight.copy_(nn.init.kaiming_uniform_(drawn, 5**0.5))
        self.lora_B.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """`x W^T + bias + scaling (dropout(x) A^T) B^T`."""
        if self.dropout.training:
            return super().forward(x)
        updated: Tensor = _LowRankUpdate.apply(  # type: ignore[no-untyped-call]
            x, self.base_layer, self.lora_A.weight, self.lora_B.weight, self.scaling
        )
        return updated

    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """With the update added."""
        return output + self.update(x)

    def update(self, x: Tensor) -> Tensor:
        """The low-rank part alone."""
        inner: Tensor = self.dropout(x) @ self.lora_A.weight.t()
        return inner @ self.lora_B.weight.t() * self.scaling

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """W + scaling B A."""
        return (self.base_layer.weight.float() + self.delta()), self.base_layer.bias

    def delta(self) -> Tensor:
        """`[O, I]` float32: what is added to the weight."""
        product: Tensor = self.lora_B.weight.float() @ self.lora_A.weight.float()
        return product * self.scaling


class _LowRankUpdate(torch.autograd.Function):
    """Only the arithmetic needed: three products, no pass over the output, no gradient of the base.

    Backward keeps the input and the inner activations; a quantised weight is made whole again.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, base: nn.Linear | QuantizedLinear, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        inner = flat @ down.t()
        output = torch.nn.functional.linear(flat, base.weight, base.bias)
        output.addmm_(inner, up.t(), alpha=scaling)
        ctx.save_for_backward(flat, inner, down, up)
        ctx.base, ctx.scaling = base, scaling
        ctx.shape = x.shape
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, down, up = ctx.saved_tensors
        grad = grad_output.reshape(-1, grad_output.shape[-1])
        grad_inner = (grad @ up).mul_(ctx.scaling)
        grad_up = (grad.t() @ inner).mul_(ctx.scaling)
        grad_down = grad_inner.t() @ flat
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ ctx.base.weight).addmm_(grad_inner, down).view(ctx.shape)
        return grad_x, None, grad_down, grad_up, None
