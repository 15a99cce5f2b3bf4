"""LoRA adapters in PEFT's file format: read and checked here, attached and trained through PEFT.

Reading does not import PEFT: the serving engine only needs the matrices.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.models.catalogue import read_json
from tailor.models.tensors import read_header, read_tensors

if TYPE_CHECKING:
    from tailor.models.loading import LoadedModel

ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
MAX_RANK = 128
_PREFIX = "base_model.model."
_ADAPTER = "default"
_UNSUPPORTED = (
    "use_dora",
    "use_rslora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "fan_in_fan_out",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraShape:
    """How an adapter sits on its base."""

    rank: int = 16
    """Inner width, 1 to 128."""

    alpha: float = 32.0
    """Adapter output is scaled by alpha / rank."""

    targets: tuple[str, ...] = ()
    """Last names of the linear layers that get an adapter; empty: all of them except the output layer."""

    dropout: float = 0.0
    """Share of adapter inputs dropped in training."""

    def __post_init__(self) -> None:
        if not 1 <= self.rank <= MAX_RANK:
            raise InvalidRequest(
                f"rank is {self.rank}, but must be between 1 and {MAX_RANK}.", param="tailor.adapter.rank"
            )


class LoraWeights(NamedTuple):
    """One layer's adapter: output += (input A^T) B^T * scaling."""

    a: Tensor
    """`[rank, in]`."""

    b: Tensor
    """`[out, rank]`."""

    scaling: float


def linear_shapes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """`(out, in)` of every linear layer that may carry an adapter, by module path; not the output layer."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    return {
        name: (module.out_features, module.in_features)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    }


def attach_lora(loaded: LoadedModel, shape: LoraShape, *, seed: int = 0) -> nn.Module:
    """Put a fresh adapter on a loaded base, in place; the base's weights are frozen.

    Adapter weights get the base's dtype. B starts at zero, so the model's output does not change yet;
    A is drawn from `seed`.

    Raises:
        InvalidRequest: a target names no linear layer of this model.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    from tailor.models._lora_linear import LoraLinear

    names = linear_shapes(loaded.model)
    available = sorted({name.rpartition(".")[2] for name in names})
    targets = sorted(shape.targets or available)
    if unknown := sorted(set(targets) - set(available)):
        raise InvalidRequest(
            f"This model has no linear layer called {unknown[0]!r}.",
            param="tailor.adapter.targets",
            remedy=f"Choose from: {', '.join(available)}.",
        )
    config = LoraConfig(
        r=shape.rank,
        lora_alpha=shape.alpha,
        lora_dropout=shape.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    config._register_custom_module({nn.Linear: LoraLinear})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted: nn.Module = get_peft_model(loaded.model, config, autocast_adapter_dtype=False)
    return adapted


def load_adapter(loaded: LoadedModel, directory: Path, *, dropout: float = 0.0) -> nn.Module:
    """Attach the adapter of `directory` to a loaded base, in place; `dropout` is for further training."""
    import torch

    shape = replace(read_shape(directory), dropout=dropout)
    weights = read_adapter_weights(directory, linear_shapes(loaded.model))
    adapted = attach_lora(loaded, shape)
    with torch.no_grad():
        for path, matrices in weights.items():
            layer = adapted.get_submodule(_PREFIX + path)
            layer.lora_A[_ADAPTER].weight.copy_(matrices.a)  # type: ignore[index, union-attr]
            layer.lora_B[_ADAPTER].weight.copy_(matrices.b)  # type: ignore[index, union-attr]
    return adapted


def save_adapter(
    directory: Path, weights: Mapping[str, Tensor], shape: LoraShape, *, base_name: str = ""
) -> None:
    """Write an adapter that PEFT, vLLM and we can load.

    `weights` are named as in the adapted base (`model.layers.0.self_attn.q_proj.lora_A.default.weight`).
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    renamed = {
        _PREFIX + name.replace(f".{_ADAPTER}.", "."): tensor.detach().cpu().contiguous()
        for name, tensor in weights.items()
    }
    save_file(renamed, directory / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": shape.rank,
        "lora_alpha": shape.alpha,
        "lora_dropout": shape.dropout,
        "target_modules": sorted({name.split(".lora_")[0].rpartition(".")[2] for name in renamed}),
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
    }
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def is_adapter(directory: Path) -> bool:
    """Whether the directory holds an adapter rather than a complete model."""
    return (directory / ADAPTER_CONFIG).is_file()


def read_shape(directory: Path) -> LoraShape:
    """Shape of a saved adapter.

    Raises:
        InvalidRequest: it is not a plain LoRA adapter (R10).
    """
    config = read_json(directory / ADAPTER_CONFIG)
    if (
        config.get("peft_type") != "LORA"
        or any(config.get(key) for key in _UNSUPPORTED)
        or config.get("bias", "none") != "none"
    ):
        raise _refused("it is not a plain LoRA adapter")
    rank, alpha, targets = config.get("r"), config.get("lora_alpha"), config.get("target_modules")
    if type(rank) is not int or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise _refused("rank or alpha is not a number")
    if not isinstance(targets, list) or not all(isinstance(name, str) for name in targets):
        raise _refused("target_modules is not a list of names")
    return LoraShape(
        rank=rank,
        alpha=float(alpha),
        targets=tuple(sorted(targets)),
        dropout=float(config.get("lora_dropout") or 0.0),
    )


def read_adapter_weights(
    directory: Path, shapes: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, LoraWeights]:
    """The adapter's matrices by module path in the base (`model.layers.0.self_attn.q_proj`).

    Give `shapes` (from `linear_shapes`) to have every tensor checked against the base before it is read.

    Raises:
        InvalidRequest: wrong names, shapes, rank, dtype or a value that is not finite.
    """
    shape = read_shape(directory)
    file = directory / ADAPTER_WEIGHTS
    header = read_header(file)
    paths = sorted({name.removeprefix(_PREFIX).rpartition(".lora_")[0] for name in header})
    expected: dict[str, tuple[int, ...]] = {}
    for path in paths:
        if path.rpartition(".")[2] not in shape.targets or (shapes is not None and path not in shapes):
            raise _refused(f"it has weights for {path[:80]!r}, which is not one of its targets")
        declared_out = header.get(f"{_PREFIX}{path}.lora_B.weight")
        declared_in = header.get(f"{_PREFIX}{path}.lora_A.weight")
        if declared_in is None or declared_out is None:
            raise _refused(f"layer {path[:80]!r} has only one of its two matrices")
        out_features, in_features = (
            shapes[path] if shapes is not None else (declared_out.shape[0], declared_in.shape[-1])
        )
        expected[f"{_PREFIX}{path}.lora_A.weight"] = (shape.rank, in_features)
        expected[f"{_PREFIX}{path}.lora_B.weight"] = (out_features, shape.rank)
    tensors = read_tensors(file, expected)
    scaling = shape.alpha / shape.rank
    return {
        path: LoraWeights(
            tensors[f"{_PREFIX}{path}.lora_A.weight"], tensors[f"{_PREFIX}{path}.lora_B.weight"], scaling
        )
        for path in paths
    }


def adapter_parameters(model: nn.Module) -> dict[str, Tensor]:
    """Trainable tensors of an adapted model by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _refused(reason: str, **details: Any) -> InvalidRequest:
    return InvalidRequest(
        f"This adapter is refused: {reason}.",
        code="unsafe_weights",
        remedy="Train it again here, or save it with PEFT as plain LoRA.",
        **details,
    )
