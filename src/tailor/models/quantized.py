"""Frozen linear layers whose weights take one byte or half a byte: int8 and NF4, in plain torch.

Weights are stored small and made whole for each product, forward and backward, and then forgotten. The
arithmetic is that of the rounded weights, to the last bit of the working precision, on every processor.
Measured against bitsandbytes: docs/design/quantised.md.

int8: one scale for each output row. NF4 (Dettmers et al. 2023, arXiv:2305.14314): the 16 values that a
normal distribution fills equally, one scale for each block of 64 weights; 4.25 bits a weight.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from tailor.errors import InvalidRequest
from tailor.models.tensors import each_tensor

Quantization = Literal["int8", "nf4"]
QUANTIZATIONS: tuple[Quantization, ...] = ("int8", "nf4")

_BLOCK = 64
_NF4 = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)
"""Appendix E of the paper."""

_MIDDLES = tuple((low + high) / 2 for low, high in pairwise(_NF4))
_PART = 4096
_PART_ON_CARD = 2**18
_PROCESSOR = torch.device("cpu")


class QuantizedLinear(nn.Module):
    """A frozen linear layer. `weight` is computed at each use: ask once and let go."""

    codes: Tensor
    scales: Tensor

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None, dtype: torch.dtype) -> None:
        """Round `weight_OI`; products are computed in `dtype`."""
        super().__init__()
        self.out_features, self.in_features = weight_OI.shape
        self.dtype = dtype
        self.bias = None if bias_O is None else nn.Parameter(bias_O.to(dtype), requires_grad=False)
        codes, scales = self.quantize(weight_OI.float())
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)

    @staticmethod
    def quantize(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        """Codes and scales of a float32 matrix."""
        raise NotImplementedError

    @property
    def weight(self) -> Tensor:
        """`[O, I]`: what the codes stand for."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """`x W^T + bias`; remembers nothing but the layer for the backward pass."""
        output: Tensor = _Product.apply(x, self)  # type: ignore[no-untyped-call]
        return output


class Int8Linear(QuantizedLinear):
    """A byte for each weight, a float32 scale for each row."""

    @staticmethod
    def quantize(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        """The largest weight of a row becomes 127."""
        scales = weight_OI.abs().amax(1) / 127
        codes = weight_OI / torch.where(scales > 0, scales, 1.0)[:, None]
        return codes.round_().to(torch.int8), scales

    @property
    def weight(self) -> Tensor:
        """`[O, I]`."""
        return self.codes.to(self.dtype).mul_(self.scales[:, None].to(self.dtype))


class Nf4Linear(QuantizedLinear):
    """Half a byte for each weight, a float16 scale for each 64."""

    @staticmethod
    def quantize(weight_OI: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest of the 16 values, times the largest weight of the block."""
        flat = weight_OI.flatten()
        blocks = torch.nn.functional.pad(flat, (0, -len(flat) % _BLOCK)).view(-1, _BLOCK)
        scales = blocks.abs().amax(1).to(torch.float16)
        divisors = torch.where(scales > 0, scales, 1.0)[:, None].float()
        codes = torch.zeros(blocks.shape, dtype=torch.uint8, device=blocks.device)
        # Part by part: what is compared 15 times has to stay in the processor's cache.
        size = _PART if weight_OI.device.type == "cpu" else _PART_ON_CARD
        parts = (torch.split(tensor, size) for tensor in (blocks, divisors, codes))
        for block, divisor, code in zip(*parts, strict=True):
            share = block / divisor
            for middle in _MIDDLES:
                code += share > middle
        pairs = codes.view(-1, 2)
        return pairs[:, 0] << 4 | pairs[:, 1], scales

    @property
    def weight(self) -> Tensor:
        """`[O, I]`: both weights of a byte are looked up at once."""
        pairs = _pairs(self.dtype, self.codes.device)
        blocks = pairs.index_select(0, self.codes.int()).view(self.dtype).view(-1, _BLOCK)
        whole = blocks.mul_(self.scales[:, None].to(self.dtype)).view(-1)
        return whole[: self.out_features * self.in_features].view(self.out_features, self.in_features)


_LAYERS: dict[str, type[QuantizedLinear]] = {"int8": Int8Linear, "nf4": Nf4Linear}


def quantized(
    kind: Quantization, weight_OI: Tensor, bias_O: Tensor | None, dtype: torch.dtype
) -> QuantizedLinear:
    """A layer of the kind with the weights nearest to the given ones."""
    return _LAYERS[kind](weight_OI, bias_O, dtype)


def dense(layer: QuantizedLinear) -> nn.Linear:
    """The same layer with its rounded weights held whole."""
    weight_OI = layer.weight
    made = nn.Linear(
        layer.in_features, layer.out_features, bias=layer.bias is not None, device="meta", dtype=layer.dtype
    )
    made.weight = nn.Parameter(weight_OI, requires_grad=False)
    if layer.bias is not None:
        made.bias = layer.bias
    return made


def make_dense(model: nn.Module) -> None:
    """Hold all rounded weights whole, layer by layer: the same model, faster token by token."""
    for path, layer in list(model.named_modules()):
        if isinstance(layer, QuantizedLinear):
            model.set_submodule(path, dense(layer))


def load_quantized(
    directory: Path,
    config: Any,
    kind: Quantization,
    *,
    dtype: torch.dtype,
    attention: str,
    device: torch.device = _PROCESSOR,
) -> Any:
    """A base from its directory, its linear layers rounded one by one: never whole in memory.

    Embedding, output layer and vectors keep `dtype`.

    Raises:
        InvalidRequest: the files do not hold exactly this model's weights.
    """
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    _make_buffers(model, device)
    head = model.get_output_embeddings()
    linear = {
        path for path, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head
    }
    missing = {name for name, _ in model.named_parameters()}
    for file in sorted(directory.glob("*.safetensors")):
        for name, tensor in each_tensor(file):
            path, _, last = name.rpartition(".")
            if name not in missing:
                if name in model.all_tied_weights_keys:
                    continue
                raise _unknown(name)
            missing.discard(name)
            if path in linear and last == "weight":
                rounded = quantized(kind, tensor.to(device), None, dtype)
                rounded.bias = model.get_submodule(path).bias
                model.set_submodule(path, rounded)
            else:
                whole = nn.Parameter(tensor.to(device, dtype), requires_grad=False)
                setattr(model.get_submodule(path), last, whole)
    model.tie_weights()
    if missing:
        raise _unknown(min(missing))
    return model


def _make_buffers(model: Any, device: torch.device) -> None:
    """What a model computes for itself when it is made, such as the frequencies of its positions."""
    for module in list(model.modules()):
        temporary = [name for name in module._non_persistent_buffers_set if module._buffers[name] is not None]
        for name in temporary:
            module._buffers[name] = torch.empty_like(module._buffers[name], device="cpu")
        if temporary:
            # On the processor whatever the device: a card computes powers to other last bits.
            model._init_weights(module)
            for name in temporary:
                module._buffers[name] = module._buffers[name].to(device)


def _unknown(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"The base cannot be quantised: its files and its architecture disagree about {name!r}.",
        param="tailor.quantization",
        remedy="Train without quantization.",
    )


def _pairs(dtype: torch.dtype, device: torch.device) -> Tensor:
    """For each byte its two values, side by side in one whole number of twice their width."""
    values = torch.tensor(_NF4, dtype=dtype, device=device)
    sides = torch.stack([values.repeat_interleave(16), values.repeat(16)], 1)
    return sides.view(torch.int64 if dtype.itemsize == 4 else torch.int32).flatten()


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer = layer
        return torch.nn.functional.linear(x, layer.weight, layer.bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        return grad_output @ ctx.layer.weight, None
