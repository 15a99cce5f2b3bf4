"""Adapters as files, in PEFT's format: read, checked, put on a base, saved, merged into it.

What an adapter computes is in `methods`. Reading imports no PEFT; PEFT is the oracle of the tests.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

import torch
from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.models.catalogue import read_json
from tailor.models.methods import AdaptedLinear, Method, linear_layers, misfit, read_method
from tailor.models.methods.prefix import MODULE, NAME
from tailor.models.quantized import Quantization, QuantizedLinear, dense
from tailor.models.tensors import read_header, read_tensors

if TYPE_CHECKING:
    from tailor.models.loading import LoadedModel

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_PROMPT = "prompt_embeddings"
_MOST_WEIGHTS = 2**17


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SavedAdapter:
    """A trained adapter as its files hold it; not yet compared with any base."""

    method: Method
    weights: Mapping[str, Tensor]
    """By their names in the model (`model.layers.0.self_attn.q_proj.lora_A.weight`)."""

    quantization: Quantization | None = None
    """How the base was rounded when it was trained."""


def attach(loaded: LoadedModel, method: Method, *, seed: int = 0) -> None:
    """Put fresh adapter weights on a loaded base, in place; the base's weights are frozen.

    They get the base's dtype and are drawn from `seed`. But for a prefix, the output does not change yet.

    Raises:
        InvalidRequest: the method asks for layers that this model does not have.
    """
    method.attach(loaded.model, seed=seed)


def load_adapter(loaded: LoadedModel, directory: Path, *, dropout: float = 0.0) -> None:
    """Put the adapter of `directory` on a loaded base, in place; `dropout` is for further training."""
    saved = read_adapter(directory)
    method = saved.method
    if hasattr(method, "dropout"):
        method = replace(method, dropout=dropout)  # type: ignore[type-var]
    method.restore(loaded.model, saved.weights)


def save_adapter(
    directory: Path,
    weights: Mapping[str, Tensor],
    method: Method,
    *,
    base_name: str = "",
    quantization: Quantization | None = None,
) -> None:
    """Write an adapter that we can load, and PEFT and vLLM if they have the method.

    `weights` are named as in the adapted base.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    tensors = {
        _PROMPT if name == NAME else _PREFIX + name: tensor.detach().cpu().contiguous()
        for name, tensor in weights.items()
    }
    # One entry at most: several are written in an order that differs from process to process.
    metadata = {"base_quantization": quantization} if quantization else {"format": "pt"}
    save_file(tensors, directory / ADAPTER_WEIGHTS, metadata=metadata)
    targets = sorted({_layer_of(name) for name in weights})
    config = method.config(targets) | {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "inference_mode": True,
    }
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def is_adapter(directory: Path) -> bool:
    """Whether the directory holds an adapter rather than a complete model."""
    return (directory / ADAPTER_CONFIG).is_file()


def adapter_method(directory: Path) -> Method:
    """The method of a saved adapter.

    Raises:
        InvalidRequest: it is none that we compute (R10).
    """
    return read_method(read_json(directory / ADAPTER_CONFIG))


def read_adapter(directory: Path) -> SavedAdapter:
    """A saved adapter; whether it fits a base is checked when it is put on one.

    Raises:
        InvalidRequest: wrong config, wrong names, or a value that is not finite.
    """
    method = adapter_method(directory)
    file = directory / ADAPTER_WEIGHTS
    header = read_header(file)
    if not 0 < len(header) <= _MOST_WEIGHTS or not all(_is_ours(name) for name in header):
        raise misfit("its weights do not have the names that PEFT gives them")
    if any(entry.dtype not in ("F32", "F16", "BF16") for entry in header.values()):
        raise misfit("its weights are not floating-point numbers")
    weights = {
        NAME if name == _PROMPT else name.removeprefix(_PREFIX): tensor
        for name, tensor in read_tensors(file).items()
    }
    return SavedAdapter(method=method, weights=weights, quantization=base_quantization(directory))


def base_quantization(directory: Path) -> Quantization | None:
    """How the base was rounded that a saved adapter was trained on."""
    from safetensors import safe_open

    with safe_open(directory / ADAPTER_WEIGHTS, "pt") as file:
        kind = (file.metadata() or {}).get("base_quantization")
    if kind is not None and kind not in get_args(Quantization):
        raise misfit("the rounding of its base is not one of ours")
    return cast("Quantization | None", kind)


def adapter_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Trainable tensors of a model by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def dropouts(model: nn.Module) -> list[nn.Module]:
    """The dropouts of the adapter's layers; in evaluation mode until somebody trains."""
    return [
        inner
        for module in model.modules()
        if isinstance(module, AdaptedLinear)
        for inner in module.children()
        if isinstance(inner, nn.Dropout)
    ]


@contextmanager
def merged(model: nn.Module) -> Iterator[None]:
    """While this lasts, the model is a plain one that computes the same; then it is as it was, to the bit.

    Raises:
        InvalidRequest: the method adds more than plain layers can hold.
    """
    if MODULE in dict(model.named_children()):
        raise InvalidRequest(
            "This version cannot be merged: trained keys and values have no place in a plain model.",
            code="not_mergeable",
            remedy="Serve it with its base, or train with the adapter type lora, dora or ia3.",
        )
    changed = {
        path: module
        for path, module in model.named_modules()
        if isinstance(module, AdaptedLinear)
        or (isinstance(module, QuantizedLinear) and not path.endswith(".base_layer"))
    }
    try:
        for path, module in changed.items():
            model.set_submodule(path, _plain(module))
        yield
    finally:
        for path, module in changed.items():
            model.set_submodule(path, module)


@torch.no_grad()
def _plain(module: nn.Module) -> nn.Linear:
    if isinstance(module, QuantizedLinear):
        return dense(module)
    if not isinstance(module, AdaptedLinear):
        raise TypeError(f"{type(module).__name__} is no layer of a method")
    weight, bias = module.merged()
    dtype = module.place()["dtype"]
    made = nn.Linear(module.in_features, module.out_features, bias=bias is not None, device="meta")
    made.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().to(dtype), requires_grad=False)
    return made


def _is_ours(name: str) -> bool:
    return name == _PROMPT or (name.startswith(_PREFIX) and len(name) < 400)


def _layer_of(name: str) -> str:
    """`q_proj` of `model.layers.0.self_attn.q_proj.lora_A.weight`."""
    parts = name.split(".")
    own = [i for i, part in enumerate(parts) if part.startswith(("lora_", "ia3_", "adapter_"))]
    return parts[own[0] - 1] if own else ""


__all__ = [
    "ADAPTER_CONFIG",
    "ADAPTER_WEIGHTS",
    "SavedAdapter",
    "adapter_method",
    "adapter_parameters",
    "attach",
    "base_quantization",
    "dropouts",
    "is_adapter",
    "linear_layers",
    "load_adapter",
    "merged",
    "read_adapter",
    "save_adapter",
]
