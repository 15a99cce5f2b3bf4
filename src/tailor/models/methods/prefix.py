"""Prefix tuning (Li and Liang 2021, arXiv:2101.00190): trained keys and values in front of every example.

The prefix stands at positions 0 to P-1, the example's tokens from P on, as PEFT has it. In packed batches it
is a segment that all examples go on from; in serving it lies in the cache like tokens already read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.models.attention import DenseLayout, KeysValues, Layout, PackedLayout, PrefixedLayout
from tailor.models.methods.linear import misfit

_MAX_TOKENS = 256
MODULE = "prefix"
"""Where the trained weights are in the model."""

NAME = "prefix.prompt_embeddings"
"""Their name in the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixTuning:
    """Keys and values of `num_virtual_tokens` tokens that do not exist, in every layer."""

    num_virtual_tokens: int = 16
    """Length of the prefix, 1 to 256."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_virtual_tokens <= _MAX_TOKENS:
            raise InvalidRequest(
                f"num_virtual_tokens is {self.num_virtual_tokens}, but must be between 1 and {_MAX_TOKENS}.",
                param="tailor.adapter.num_virtual_tokens",
            )

    def attach(self, model: nn.Module, *, seed: int) -> None:
        """Start from what the base computes for tokens drawn from its vocabulary, as the paper advises."""
        body: Any = model.model
        config: Any = model.config
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(config.vocab_size, (1, self.num_virtual_tokens), generator=generator)
        heard = _Recording(self.num_virtual_tokens)
        with torch.no_grad():
            body(input_ids=ids.to(_device(model)), use_cache=False, layout=heard)
        self._put(model, heard.layers, requires_grad=True)

    def restore(self, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
        """Put trained keys and values on a base, in place.

        Raises:
            InvalidRequest: they are not of this method, or for another base.
        """
        probe = _Recording(1)
        body: Any = model.model
        with torch.no_grad():
            body(input_ids=torch.zeros(1, 1, dtype=torch.long, device=_device(model)), layout=probe)
        shapes = [(key.shape[0], key.shape[2]) for key, _ in probe.layers]
        layers = self.layers(weights, shapes)
        like = probe.layers[0][0]
        self._put(model, [(key.to(like), value.to(like)) for key, value in layers], requires_grad=True)

    def layers(self, weights: Mapping[str, Tensor], shapes: Sequence[tuple[int, int]]) -> list[KeysValues]:
        """Trained keys and values `[K, P, D]` of each layer; `shapes`: the base's (K, D) of each.

        Raises:
            InvalidRequest: they are not of this method, or for another base.
        """
        heads, size = shapes[0]
        wanted = {NAME: (self.num_virtual_tokens, 2 * len(shapes) * heads * size)}
        found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        if found != wanted or set(shapes) != {(heads, size)}:
            raise misfit(f"it has the weights {found}, the base wants {wanted}")
        return _by_layer(weights[NAME], heads, size)

    def config(self, targets: list[str]) -> dict[str, Any]:
        """PEFT's `PrefixTuningConfig`; PEFT takes the rest from the base."""
        return {
            "peft_type": "PREFIX_TUNING",
            "num_virtual_tokens": self.num_virtual_tokens,
            "num_transformer_submodules": 1,
            "prefix_projection": False,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The method of a PEFT `PrefixTuningConfig`."""
        if config.get("prefix_projection") or config.get("num_transformer_submodules") not in (None, 1):
            raise misfit("its prefix comes out of a network of its own")
        number = config.get("num_virtual_tokens")
        if type(number) is not int:
            raise misfit("num_virtual_tokens is not a number")
        return cls(num_virtual_tokens=number)

    def _put(self, model: nn.Module, layers: Sequence[KeysValues], *, requires_grad: bool) -> None:
        shapes = {key.shape for key, _ in layers}
        if len(shapes) > 1:
            raise InvalidRequest(
                "The layers of this model keep keys of different shapes, which prefix tuning does not cover.",
                param="tailor.adapter.type",
                remedy="Choose another adapter type, for example lora.",
            )
        model.requires_grad_(False)
        prefix = _Prefix(layers)
        model.add_module(MODULE, prefix)
        body = cast(nn.Module, model.model)
        body.register_forward_pre_hook(_Hook(prefix, model.config), with_kwargs=True)


def prefix_of(model: nn.Module) -> list[KeysValues]:
    """Keys and values of each layer that stand in front of all this model reads; none without a prefix."""
    prefix = getattr(model, MODULE, None)
    if not isinstance(prefix, _Prefix):
        return []
    return [(key.detach(), value.detach()) for key, value in prefix.layers]


class _Prefix(nn.Module):
    """The trained weights, laid out as in PEFT's file."""

    def __init__(self, layers: Sequence[KeysValues]) -> None:
        super().__init__()
        self._shape = (layers[0][0].shape[0], layers[0][0].shape[2])
        rows = [part.transpose(0, 1).flatten(1) for layer in layers for part in layer]
        self.prompt_embeddings = nn.Parameter(torch.cat(rows, 1))

    @property
    def num_tokens(self) -> int:
        return self.prompt_embeddings.shape[0]

    @property
    def layers(self) -> list[KeysValues]:
        return _by_layer(self.prompt_embeddings, *self._shape)


class _Hook:
    """Puts the prefix in front of what the transformer is about to compute."""

    def __init__(self, prefix: _Prefix, config: Any) -> None:
        self._prefix, self._config = prefix, config

    def __call__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        layout: Layout | None = kwargs.get("layout")
        if isinstance(layout, PackedLayout | DenseLayout):
            kwargs["layout"] = PrefixedLayout(layout, self._prefix.layers)
            kwargs["position_ids"] = kwargs["position_ids"] + self._prefix.num_tokens
        if layout is not None:
            return args, kwargs  # an engine keeps the prefix in its cache: see prefix_of
        from transformers import DynamicCache

        cache = DynamicCache(config=self._config)
        for index, (key_KPD, value_KPD) in enumerate(self._prefix.layers):
            cache.update(key_KPD[None], value_KPD[None], index)
        kwargs.pop("position_ids", None)
        return args, kwargs | {"past_key_values": cache}


class _Recording:
    """A layout for one example that keeps the keys and values of each layer."""

    def __init__(self, length: int) -> None:
        self._layout = PackedLayout([length])
        self.layers: list[KeysValues] = []

    def attend(
        self, layer_index: int, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, **rest: Any
    ) -> Tensor:
        self.layers.append((key_KTD.clone(), value_KTD.clone()))
        return self._layout.attend(layer_index, query_HTD, key_KTD, value_KTD, **rest)


def _by_layer(embeddings: Tensor, heads: int, size: int) -> list[KeysValues]:
    parts = embeddings.view(len(embeddings), -1, heads, size).permute(1, 2, 0, 3)
    return list(zip(parts[0::2], parts[1::2], strict=True))


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
