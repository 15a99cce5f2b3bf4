"""(IA)^3 (Liu et al. 2022, arXiv:2205.05638): one factor for each feature of keys, values and MLP inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from tailor.models.methods.linear import AdaptedLinear, LinearMethod, misfit
from tailor.models.quantized import QuantizedLinear

_TARGETS = ("down_proj", "k_proj", "v_proj")
_ON_INPUTS = ("down_proj",)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ia3(LinearMethod):
    """Layer outputs times trained factors; of the MLP's last layer the inputs."""

    targets: tuple[str, ...] = _TARGETS
    """Last names of the layers."""

    on_inputs: tuple[str, ...] = _ON_INPUTS
    """Those among them whose inputs are scaled."""

    def chosen(self, names: set[str]) -> set[str]:
        """The targets."""
        return set(self.targets)

    def layer(self, name: str, base_layer: nn.Linear | QuantizedLinear) -> Ia3Linear:
        """All factors are one: nothing changes yet."""
        return Ia3Linear(base_layer, is_on_input=name in self.on_inputs)

    def config(self, targets: list[str]) -> dict[str, Any]:
        """PEFT's `IA3Config`."""
        return {
            "peft_type": "IA3",
            "target_modules": targets,
            "feedforward_modules": [name for name in targets if name in self.on_inputs],
            "fan_in_fan_out": False,
            "init_ia3_weights": True,
            "modules_to_save": None,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The method of a PEFT `IA3Config`."""
        if config.get("modules_to_save") or config.get("fan_in_fan_out"):
            raise misfit("it is not a plain IA3 adapter")
        lists = [config.get("target_modules"), config.get("feedforward_modules") or []]
        if not all(isinstance(each, list) and all(isinstance(n, str) for n in each) for each in lists):
            raise misfit("target_modules or feedforward_modules is not a list of names")
        targets, on_inputs = (tuple(sorted(each)) for each in lists if each is not None)
        return cls(targets=targets, on_inputs=on_inputs)


class Ia3Linear(AdaptedLinear):
    """A frozen linear layer with trainable factors on its outputs or inputs."""

    def __init__(self, base_layer: nn.Linear | QuantizedLinear, *, is_on_input: bool) -> None:
        super().__init__(base_layer)
        self.is_on_input = is_on_input
        shape = (1, self.in_features) if is_on_input else (self.out_features, 1)
        self.ia3_l = nn.Parameter(torch.ones(shape, **self.place()))

    def forward(self, x: Tensor) -> Tensor:
        """`(x l) W^T + bias`, or `(x W^T + bias) l`."""
        if self.is_on_input:
            scaled: Tensor = self.base_layer(x * self.ia3_l.flatten())
            return scaled
        return super().forward(x)

    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """Factors on the inputs need the product again."""
        return self.forward(x) if self.is_on_input else output * self.ia3_l.flatten()

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """Factors on columns, or on rows and bias."""
        weight, bias = self.base_layer.weight.float() * self.ia3_l.float(), self.base_layer.bias
        if bias is None or self.is_on_input:
            return weight, bias
        return weight, bias * self.ia3_l.flatten()
