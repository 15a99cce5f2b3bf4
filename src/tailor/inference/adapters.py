"""Many adapters over one base in one batch.

Every linear layer of the base is replaced once by one that shares its weights and adds, for the tokens
of each adapter, `x @ A^T @ B^T * scaling`. Adapters with few tokens (decoding) are computed together as one
batched product over padded groups; one with many tokens (reading a prompt) by itself. Without an adapter in
the step nothing is added and nothing is paid.

Joining layers with the same input (query, key and value) to one product was tried: no faster on a CPU,
where these products run at full rate already, and the joined B is mostly zeros.

Shapes: T packed tokens, G adapters in a stack, M most tokens of one of them, I and O sizes of a layer,
N rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.inference.engine import AdapterWeights


@dataclass(frozen=True, slots=True, eq=False)
class Adapter:
    """An adapter as the layers want it: path -> (A^T `[I, N]`, B^T * scaling `[N, O]`)."""

    layers: dict[str, tuple[Tensor, Tensor]]

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        return sum(part.nbytes for pair in self.layers.values() for part in pair)


class Mixture:
    """The adapters of the step that runs now; the base's layers look here."""

    def __init__(self, model: nn.Module) -> None:
        """Take over `model`: its linear layers but the output one learn to add adapters."""
        self.batch: AdapterBatch | None = None
        self._stack: _Stack | None = None
        self._spans: tuple[tuple[Adapter | None, int], ...] = ()
        self._layers: dict[str, _MixedLinear] = {}
        head = model.get_output_embeddings()  # type: ignore[operator]
        for path, module in list(model.named_modules()):
            if type(module) is nn.Linear and module is not head:
                self._layers[path] = _MixedLinear(module, path, self)
                model.set_submodule(path, self._layers[path])

    def prepare(self, weights: AdapterWeights) -> Adapter:
        """Check an adapter against the base and bring it to the base's device and precision.

        Raises:
            InvalidRequest: it is for layers that this base does not have.
        """
        layers = {}
        for path, (down_NI, up_ON, scaling) in weights.items():
            layer = self._layers.get(path)
            if layer is None:
                raise InvalidRequest(f"the adapter changes {path}, which is no linear layer of its base")
            if down_NI.shape[1] != layer.in_features or up_ON.shape[0] != layer.out_features:
                raise InvalidRequest(
                    f"the adapter's part for {path} is for a layer of {down_NI.shape[1]} to {up_ON.shape[0]}"
                    f" features, the base's has {layer.in_features} to {layer.out_features}"
                )
            layers[path] = (
                down_NI.detach().to(layer.weight).t().contiguous(),
                (up_ON.detach().float() * scaling).to(layer.weight).t().contiguous(),
            )
        return Adapter(layers)

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
        device = next(iter(self._layers.values())).weight.device
        few = sorted(tokens, key=lambda adapter: len(tokens[adapter]))
        alone = []
        # Padding may at most double the work: the adapters with the most tokens go by themselves.
        while len(few) * len(tokens[few[-1]]) > 2 * sum(len(tokens[adapter]) for adapter in few):
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


class _MixedLinear(nn.Linear):
    """A linear layer of the base that adds the adapters' part; shares the base's weights."""

    def __init__(self, linear: nn.Linear, path: str, mixture: Mixture) -> None:
        super().__init__(1, 1, bias=False, device="meta")
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._path = path
        self._mixture = mixture

    def forward(self, input: Tensor) -> Tensor:
        """`[1, T, I]` to `[1, T, O]`."""
        output = F.linear(input, self.weight, self.bias)
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
            pair = adapter.layers.get(path)
            if pair is not None:
                part = input_TI.index_select(0, token) @ pair[0] @ pair[1]
                output_TO.index_add_(0, token, part)


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


def _merge(spans: Sequence[tuple[Adapter | None, int]]) -> list[tuple[Adapter | None, int]]:
    """Join neighbouring runs of the same adapter."""
    merged: list[tuple[Adapter | None, int]] = []
    for adapter, count in spans:
        if merged and merged[-1][0] is adapter:
            merged[-1] = (adapter, merged[-1][1] + count)
        else:
            merged.append((adapter, count))
    return merged
