"""Many adapters over one base in one batch.

Every linear layer of the base is replaced once by one that shares its weights and adds, for the tokens
of each LoRA adapter, `x @ A^T @ B^T * scaling`. Adapters with few tokens (decoding) are computed together as
one batched product over padded groups; one with many tokens (reading a prompt) by itself. Without an adapter
in the step nothing is added and nothing is paid.

Other methods change the output of the base's layer for their own tokens, version by version; of prefix tuning
nothing is left here, its keys and values lie in the cache before the first token is read.

Joining layers with the same input (query, key and value) to one product was tried: no faster on a CPU,
where these products run at full rate already, and the joined B is mostly zeros.

Shapes: T packed tokens, G adapters in a stack, M most tokens of one of them, I and O sizes of a layer,
N rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.inference.cache import CacheShape
from tailor.models import (
    AdaptedLinear,
    Lora,
    LoraLinear,
    PrefixTuning,
    QuantizedLinear,
    SavedAdapter,
    linear_layers,
)
from tailor.models.methods import LinearMethod


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Adapter:
    """An adapter as the base's layers want it."""

    layers: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    """LoRA, by path: A^T `[I, N]`, B^T * scaling `[N, O]`."""

    changes: Mapping[str, AdaptedLinear] = field(default_factory=dict)
    """What other methods make of a layer's output, by path."""

    prefix: Sequence[tuple[Tensor, Tensor]] = ()
    """Of each layer: keys and values `[K, P, D]` in front of every answer."""

    @property
    def num_prefix_tokens(self) -> int:
        """Places in the cache that the prefix takes."""
        return int(self.prefix[0][0].shape[1]) if self.prefix else 0

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        own = [part for change in self.changes.values() for part in change.trained().values()]
        pairs = [*self.layers.values(), *self.prefix]
        return sum(part.nbytes for part in (*own, *(part for pair in pairs for part in pair)))


class Mixture:
    """The adapters of the step that runs now; the base's layers look here."""

    def __init__(self, model: nn.Module, shape: CacheShape) -> None:
        """Take over `model`: its linear layers but the output one learn to add adapters."""
        self.batch: AdapterBatch | None = None
        self._shape = shape
        self._stack: _Stack | None = None
        self._spans: tuple[tuple[Adapter | None, int], ...] = ()
        for path, module in list(model.named_modules()):
            if isinstance(module, _MixedLinear):
                model.set_submodule(path, module.base)  # of a runner before this one
        self._layers = linear_layers(model)
        self._device = next(model.parameters()).device
        for path, layer in self._layers.items():
            model.set_submodule(path, _MixedLinear(layer, path, self))

    def prepare(self, saved: SavedAdapter) -> Adapter:
        """Check an adapter against the base and bring it to the base's device and precision.

        Raises:
            InvalidRequest: it is for layers that this base does not have.
        """
        method = saved.method
        if isinstance(method, PrefixTuning):
            layers = method.layers(saved.weights, self._shape.layers)
            device, dtype = self._shape.device, self._shape.dtype
            return Adapter(prefix=[(key.to(device, dtype), value.to(device, dtype)) for key, value in layers])
        if not isinstance(method, LinearMethod):
            raise InvalidRequest(f"The engine cannot serve the method {type(method).__name__}.")
        changes = method.bound(self._layers, saved.weights)
        if type(method) is not Lora:
            return Adapter(changes=changes)
        return Adapter(
            layers={path: _pair(layer) for path, layer in changes.items() if isinstance(layer, LoraLinear)}
        )

    def select(self, spans: Sequence[tuple[Adapter | None, int]]) -> None:
        """Say which adapter each run of packed tokens uses, before the model runs."""
        merged = tuple(_merge(spans))
        if merged == self._spans:
            return
        self._spans = merged
        tokens: dict[Adapter, list[int]] = {}
        start = 0
        for adapter, count in merged:
            if adapter is not None:
                tokens.setdefault(adapter, []).extend(range(start, start + count))
            start += count
        self.batch = self._make_batch(tokens) if tokens else None

    def forget(self, adapter: Adapter) -> None:
        """Let go of an adapter that has been unloaded."""
        if self._stack is not None and adapter in self._stack.adapters:
            self._stack = None
        if any(adapter is used for used, _ in self._spans):
            self._spans, self.batch = (), None

    def _make_batch(self, tokens: dict[Adapter, list[int]]) -> AdapterBatch:
        device = self._device
        few = sorted((a for a in tokens if a.layers), key=lambda adapter: len(tokens[adapter]))
        alone = [adapter for adapter in tokens if adapter.changes]
        # Padding may at most double the work: the adapters with the most tokens go by themselves.
        while few and len(few) * len(tokens[few[-1]]) > 2 * sum(len(tokens[adapter]) for adapter in few):
            alone.append(few.pop())
        if len(few) == 1:
            alone.append(few.pop())
        if few and not self._fits_stack(few):
            self._stack = _Stack(few)
        singles = [(adapter, torch.tensor(tokens[adapter], device=device)) for adapter in alone]
        padded = _Padded(self._stack, tokens, few, device) if few and self._stack else None
        return AdapterBatch(padded, singles)

    def _fits_stack(self, adapters: Sequence[Adapter]) -> bool:
        """The stack of an earlier step serves as well; adapters come and go, stacking copies them all."""
        stack = self._stack
        return (
            stack is not None
            and len(stack.adapters) <= 2 * len(adapters)
            and all(adapter in stack.adapters for adapter in adapters)
        )


class _MixedLinear(nn.Module):
    """A linear layer of the base, and what the adapters add to it."""

    def __init__(self, base: nn.Linear | QuantizedLinear, path: str, mixture: Mixture) -> None:
        super().__init__()
        self.base = base
        self._path = path
        self._mixture = mixture

    def forward(self, input: Tensor) -> Tensor:
        """`[1, T, I]` to `[1, T, O]`."""
        output: Tensor = self.base(input)
        batch = self._mixture.batch
        if batch is not None:
            batch.add(self._path, input[0], output[0])
        return output


class AdapterBatch:
    """Which packed tokens belong to which adapter in this step."""

    def __init__(self, padded: _Padded | None, singles: list[tuple[Adapter, Tensor]]) -> None:
        self._padded = padded
        self._singles = singles

    def add(self, path: str, input_TI: Tensor, output_TO: Tensor) -> None:
        """Add the adapters' part of one layer to its output, in place."""
        if self._padded is not None:
            self._padded.add(path, input_TI, output_TO)
        for adapter, token in self._singles:
            pair, change = adapter.layers.get(path), adapter.changes.get(path)
            if pair is not None:
                part = input_TI.index_select(0, token) @ pair[0] @ pair[1]
                output_TO.index_add_(0, token, part)
            if change is not None:
                own = change.changed(input_TI.index_select(0, token), output_TO.index_select(0, token))
                output_TO.index_copy_(0, token, own)


class _Stack:
    """Several adapters as one tensor per layer, smaller ranks filled up with zeros."""

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        self.adapters = {adapter: place for place, adapter in enumerate(adapters)}
        self.layers: dict[str, tuple[Tensor, Tensor]] = {}
        for path in dict.fromkeys(path for adapter in adapters for path in adapter.layers):
            pairs = [adapter.layers.get(path) for adapter in adapters]
            sample = next(pair for pair in pairs if pair is not None)
            rank = max(pair[0].shape[1] for pair in pairs if pair is not None)
            empty = (sample[0][:, :0], sample[1][:0])
            filled = [pair if pair is not None else empty for pair in pairs]
            self.layers[path] = (
                torch.stack([F.pad(down, (0, rank - down.shape[1])) for down, _ in filled]),
                torch.stack([F.pad(up, (0, 0, 0, rank - up.shape[0])) for _, up in filled]),
            )


class _Padded:
    """The tokens of the stack's adapters, gathered into groups of equal size."""

    def __init__(
        self, stack: _Stack, tokens: dict[Adapter, list[int]], few: Sequence[Adapter], device: Any
    ) -> None:
        self._stack = stack
        most = max(len(tokens[adapter]) for adapter in few)
        self._shape = (len(stack.adapters), most, -1)
        gather = [0] * (len(stack.adapters) * most)
        places: list[tuple[int, int]] = []
        for adapter in few:
            start = stack.adapters[adapter] * most
            for offset, token in enumerate(tokens[adapter]):
                gather[start + offset] = token
                places.append((token, start + offset))
        places.sort()
        self._gather = torch.tensor(gather, device=device)
        self._place = torch.tensor([place for _, place in places], device=device)
        self._token = torch.tensor([token for token, _ in places], device=device)
        self._is_all = [token for token, _ in places] == list(range(len(places)))

    def add(self, path: str, input_TI: Tensor, output_TO: Tensor) -> None:
        pair = self._stack.layers.get(path)
        if pair is None:
            return
        down_GIN, up_GNO = pair
        grouped_GMI = input_TI.index_select(0, self._gather).view(self._shape)
        part = torch.bmm(torch.bmm(grouped_GMI, down_GIN), up_GNO).flatten(0, 1).index_select(0, self._place)
        if self._is_all:
            output_TO[: part.shape[0]].add_(part)
        else:
            output_TO.index_add_(0, self._token, part)


def _pair(layer: LoraLinear) -> tuple[Tensor, Tensor]:
    """A^T and B^T * scaling."""
    down_NI, up_ON = layer.lora_A.weight, layer.lora_B.weight
    scaled_ON = (up_ON.float() * layer.scaling).to(up_ON.dtype)
    return down_NI.detach().t().contiguous(), scaled_ON.detach().t().contiguous()


def _merge(spans: Sequence[tuple[Adapter | None, int]]) -> list[tuple[Adapter | None, int]]:
    """Join neighbouring runs of the same adapter."""
    merged: list[tuple[Adapter | None, int]] = []
    for adapter, count in spans:
        if merged and merged[-1][0] is adapter:
            merged[-1] = (adapter, merged[-1][1] + count)
        else:
            merged.append((adapter, count))
    return merged
