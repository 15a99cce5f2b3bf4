"""Methods that change what linear layers compute: each chosen layer is wrapped, its own weights frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.models.quantized import QuantizedLinear


class AdaptedLinear(nn.Module, ABC):
    """A frozen linear layer with trainable weights of a method around it."""

    base_layer: nn.Linear | QuantizedLinear

    def __init__(self, base_layer: nn.Linear | QuantizedLinear) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = base_layer.in_features, base_layer.out_features

    def forward(self, x: Tensor) -> Tensor:
        """What the layer computes with the method."""
        output: Tensor = self.changed(x, self.base_layer(x))
        return output

    def draw(self) -> None:
        """Fresh weights, from torch's generator; they change nothing yet."""

    @abstractmethod
    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """The same, given what the frozen layer makes of `x`; serving computes that for everybody at once."""

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a plain layer that computes the same.

        Raises:
            InvalidRequest: there is none.
        """
        raise InvalidRequest(
            "This version cannot be merged: its method adds more than a linear layer can hold.",
            code="not_mergeable",
            remedy="Serve it with its base, or train with the adapter type lora, dora or ia3.",
        )

    def trained(self) -> dict[str, nn.Parameter]:
        """The method's own weights by name."""
        own = self.named_parameters()
        return {name: parameter for name, parameter in own if not name.startswith("base_layer.")}

    def place(self) -> dict[str, Any]:
        """Type and device of the trainable weights."""
        base = self.base_layer
        like = base.codes if isinstance(base, QuantizedLinear) else base.weight
        dtype = base.dtype if isinstance(base, QuantizedLinear) else base.weight.dtype
        return {"dtype": dtype, "device": like.device}


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearMethod(ABC):
    """A `Method` made of `AdaptedLinear` layers."""

    @abstractmethod
    def chosen(self, names: set[str]) -> set[str]:
        """Which of the model's linear layers are wrapped, by last name; all that are asked for if there."""

    @abstractmethod
    def layer(self, name: str, base_layer: nn.Linear | QuantizedLinear) -> AdaptedLinear:
        """A layer whose own weights have still to be drawn or copied."""

    @abstractmethod
    def config(self, targets: list[str]) -> dict[str, Any]:
        """`adapter_config.json`, as PEFT has it where it has the method."""

    def attach(self, model: nn.Module, *, seed: int) -> None:
        """Put fresh weights on a base, in place, and freeze everything else.

        Raises:
            InvalidRequest: a target names no linear layer of this model.
        """
        layers = linear_layers(model)
        names = {last_name(path) for path in layers}
        chosen = self.chosen(names)
        if unknown := sorted(chosen - names):
            raise InvalidRequest(
                f"This model has no linear layer called {unknown[0]!r}.",
                param="tailor.adapter.targets",
                remedy=f"Choose from: {', '.join(sorted(names))}.",
            )
        model.requires_grad_(False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for path, base_layer in layers.items():
                if last_name(path) in chosen:
                    layer = self.layer(last_name(path), base_layer)
                    layer.draw()
                    model.set_submodule(path, layer)

    def restore(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Put trained weights on a base, in place, to be trained further.

        Raises:
            InvalidRequest: they are not of this method, or for another base.
        """
        model.requires_grad_(False)
        for path, layer in self.bound(linear_layers(model), weights).items():
            for parameter in layer.trained().values():
                parameter.requires_grad_(True)
            model.set_submodule(path, layer)

    def bound(
        self, layers: Mapping[str, nn.Linear | QuantizedLinear], weights: Mapping[str, Tensor]
    ) -> dict[str, AdaptedLinear]:
        """Trained weights around the layers of a base, which they share; by path.

        Raises:
            InvalidRequest: the weights are not of this method, or for another base.
        """
        paths: dict[str, dict[str, Tensor]] = {}
        for name, tensor in weights.items():
            path = next((path for path in _prefixes(name) if path in layers), "")
            paths.setdefault(path, {})[name.removeprefix(f"{path}.")] = tensor
        if "" in paths:
            name = min(paths[""])
            raise misfit(f"it has weights for {name[:80]!r}, where the base has no linear layer")
        if unasked := {last_name(path) for path in paths} - self.chosen({last_name(p) for p in layers}):
            raise misfit(f"it has weights for {min(unasked)[:80]!r}, which is not one of its targets")
        return {path: self._loaded(path, layers[path], own) for path, own in paths.items()}

    def _loaded(
        self, path: str, base_layer: nn.Linear | QuantizedLinear, weights: Mapping[str, Tensor]
    ) -> AdaptedLinear:
        layer = self.layer(last_name(path), base_layer).requires_grad_(False)
        trained = layer.trained()
        expected = {name: tuple(parameter.shape) for name, parameter in trained.items()}
        found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        if expected != found:
            wrong = sorted(expected.items() ^ found.items())[:2]
            raise misfit(f"its part for {path[:80]!r} does not fit the base, for example {wrong}")
        for name, parameter in trained.items():
            parameter.copy_(weights[name])
        return layer


def empty_linear(
    size_in: int, size_out: int, *, bias: bool, dtype: torch.dtype, device: torch.device
) -> nn.Linear:
    """A linear layer whose numbers are still anything."""
    return nn.Linear(size_in, size_out, bias=bias, dtype=dtype, device="meta").to_empty(device=device)


def linear_layers(model: nn.Module) -> dict[str, nn.Linear | QuantizedLinear]:
    """Linear layers that a method may wrap, by path; not the output layer, nor what is wrapped already."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    wrapped = tuple(f"{path}." for path, module in model.named_modules() if isinstance(module, AdaptedLinear))
    return {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear | QuantizedLinear)
        and module is not head
        and not path.startswith(wrapped)
    }


def last_name(path: str) -> str:
    """`q_proj` of `model.layers.0.self_attn.q_proj`."""
    return path.rpartition(".")[2]


def misfit(reason: str) -> InvalidRequest:
    """Why adapter weights are refused."""
    return InvalidRequest(
        f"This adapter is refused: {reason}.",
        code="unsafe_weights",
        remedy="Train it again here, or save it with PEFT.",
    )


def _prefixes(name: str) -> list[str]:
    """All paths that a weight's name begins with, the longest first."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(len(parts) - 1, 0, -1)]
