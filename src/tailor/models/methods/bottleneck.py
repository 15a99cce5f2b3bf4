"""Bottleneck adapters (Houlsby et al. 2019, arXiv:1902.00751): a small network after attention and MLP.

It sits on the last linear layer of each, whose output is what the block adds to the residual stream. PEFT has
no such method; the file is PEFT's with names of our own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.models.methods.linear import AdaptedLinear, LinearMethod, empty_linear, misfit
from tailor.models.quantized import QuantizedLinear

_TARGETS = frozenset({"down_proj", "o_proj"})
_MAX_SIZE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Bottleneck(LinearMethod):
    """Block output += up(gelu(down(dropout(block output))))."""

    size: int = 64
    """Inner width, 1 to 1024."""

    dropout: float = 0.0
    """Share of adapter inputs dropped in training."""

    def __post_init__(self) -> None:
        if not 1 <= self.size <= _MAX_SIZE:
            raise InvalidRequest(
                f"size is {self.size}, but must be between 1 and {_MAX_SIZE}.", param="tailor.adapter.size"
            )

    def chosen(self, names: set[str]) -> set[str]:
        """The last layers of attention and MLP."""
        return set(_TARGETS)

    def layer(self, name: str, base_layer: nn.Linear | QuantizedLinear) -> BottleneckLinear:
        """A layer with a network behind it."""
        return BottleneckLinear(base_layer, self.size, self.dropout)

    def config(self, targets: list[str]) -> dict[str, Any]:
        """In the manner of PEFT."""
        return {
            "peft_type": "BOTTLENECK",
            "bottleneck_size": self.size,
            "bottleneck_dropout": self.dropout,
            "target_modules": targets,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The method that `config` wrote."""
        size, dropout = config.get("bottleneck_size"), config.get("bottleneck_dropout", 0.0)
        if type(size) is not int or type(dropout) not in (int, float):
            raise misfit("size or dropout of the bottleneck is not a number")
        return cls(size=size, dropout=float(dropout))


class BottleneckLinear(AdaptedLinear):
    """The last frozen layer of attention or MLP, with a trainable network behind it."""

    def __init__(self, base_layer: nn.Linear | QuantizedLinear, size: int, dropout: float) -> None:
        super().__init__(base_layer)
        place = self.place()
        self.adapter_down = empty_linear(self.out_features, size, bias=True, **place)
        self.adapter_up = empty_linear(size, self.out_features, bias=True, **place)
        self.dropout = nn.Dropout(dropout).eval()

    @torch.no_grad()
    def draw(self) -> None:
        """The way up is zero: nothing changes yet."""
        shape = self.adapter_down.weight.shape
        self.adapter_down.weight.copy_(torch.randn(shape) / math.sqrt(self.out_features))
        for zero in (self.adapter_down.bias, self.adapter_up.weight, self.adapter_up.bias):
            zero.zero_()

    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """With what the network adds."""
        inner = nn.functional.gelu(self.adapter_down(self.dropout(output)))
        added: Tensor = self.adapter_up(inner)
        return output + added
