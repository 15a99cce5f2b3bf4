"""The ways to train few weights on a frozen base, one module each, behind `Method`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol

from torch import Tensor, nn

from tailor.models.methods.bottleneck import Bottleneck
from tailor.models.methods.dora import Dora
from tailor.models.methods.ia3 import Ia3
from tailor.models.methods.linear import AdaptedLinear, LinearMethod, linear_layers, misfit
from tailor.models.methods.lora import Lora, LoraLinear
from tailor.models.methods.prefix import PrefixTuning

__all__ = [
    "AdaptedLinear",
    "Bottleneck",
    "Dora",
    "Ia3",
    "LinearMethod",
    "Lora",
    "LoraLinear",
    "METHODS",
    "Method",
    "PrefixTuning",
    "kind_of",
    "linear_layers",
    "make_method",
    "misfit",
    "read_method",
]


class Method(Protocol):
    """A way to train few weights on a frozen base; a frozen dataclass of its numbers."""

    def attach(self, model: nn.Module, *, seed: int) -> None:
        """Put fresh weights on a base, in place, and freeze everything else."""

    def restore(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Put trained weights on a base, in place, after checking that they fit."""

    def config(self, targets: list[str]) -> dict[str, Any]:
        """What `adapter_config.json` says; `targets`: last names of the layers that have weights."""


METHODS: dict[str, type[Lora | Ia3 | Bottleneck | PrefixTuning]] = {
    "lora": Lora,
    "dora": Dora,
    "ia3": Ia3,
    "bottleneck": Bottleneck,
    "prefix": PrefixTuning,
}
"""By the name that requests use."""


def make_method(kind: str, numbers: Mapping[str, Any]) -> Lora | Ia3 | Bottleneck | PrefixTuning:
    """The method of a kind with its part of the `numbers`; what they leave out keeps its default."""
    made = METHODS[kind]
    return made(**{field.name: numbers[field.name] for field in fields(made) if field.name in numbers})


def kind_of(method: Method) -> str:
    """The name that requests use for it."""
    return next(kind for kind, made in METHODS.items() if type(method) is made)


def read_method(config: Mapping[str, Any]) -> Lora | Ia3 | Bottleneck | PrefixTuning:
    """The method of an `adapter_config.json`.

    Raises:
        InvalidRequest: it is none of ours, or uses what we do not compute (R10).
    """
    match config.get("peft_type"):
        case "LORA":
            return (Dora if config.get("use_dora") else Lora).from_config(config)
        case "IA3":
            return Ia3.from_config(config)
        case "BOTTLENECK":
            return Bottleneck.from_config(config)
        case "PREFIX_TUNING":
            return PrefixTuning.from_config(config)
    raise misfit(f"its type is {str(config.get('peft_type'))[:40]!r}, which is not one of ours")
