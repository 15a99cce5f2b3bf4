"""Bases, chat templates, adapters and packed attention: everything that knows what a model is made of.

Names are imported when they are first used: the catalogue needs no torch, and a server that only enters a
base must not wait seconds for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tailor.models.adapters import (
        SavedAdapter,
        adapter_method,
        adapter_parameters,
        attach,
        base_quantization,
        dropouts,
        is_adapter,
        load_adapter,
        merged,
        read_adapter,
        save_adapter,
    )
    from tailor.models.attention import ATTENTION_NAME, DenseLayout, Layout, PackedLayout
    from tailor.models.catalogue import (
        EMBEDDED_BASE,
        EMBEDDED_FAMILY,
        BaseFacts,
        embedded_directory,
        fetch,
        inspect,
        require_own_name,
    )
    from tailor.models.counting import token_counter
    from tailor.models.devices import (
        choose_device,
        free_device_bytes,
        moved,
        native_dtype,
        peak_device_bytes,
        release_cached,
        total_device_bytes,
    )
    from tailor.models.loading import (
        LoadedModel,
        load_base,
        load_template,
        load_version,
        save_full,
        twin_of,
    )
    from tailor.models.merging import merge_version
    from tailor.models.methods import (
        METHODS,
        AdaptedLinear,
        Dora,
        Lora,
        LoraLinear,
        Method,
        PrefixTuning,
        kind_of,
        linear_layers,
        make_method,
    )
    from tailor.models.quantized import (
        QUANTIZATIONS,
        Quantization,
        QuantizedLinear,
        make_dense,
    )
    from tailor.models.recomputing import recompute_activations
    from tailor.models.template import Answer, Rendered, Template
    from tailor.models.tokens import TokenTable

_MODULES = {
    "adapters": (
        "SavedAdapter",
        "adapter_method",
        "adapter_parameters",
        "attach",
        "base_quantization",
        "dropouts",
        "is_adapter",
        "load_adapter",
        "merged",
        "read_adapter",
        "save_adapter",
    ),
    "attention": ("ATTENTION_NAME", "DenseLayout", "Layout", "PackedLayout"),
    "catalogue": (
        "EMBEDDED_BASE",
        "EMBEDDED_FAMILY",
        "BaseFacts",
        "embedded_directory",
        "fetch",
        "inspect",
        "require_own_name",
    ),
    "counting": ("token_counter",),
    "devices": (
        "choose_device",
        "free_device_bytes",
        "moved",
        "native_dtype",
        "peak_device_bytes",
        "release_cached",
        "total_device_bytes",
    ),
    "loading": (
        "LoadedModel",
        "load_base",
        "load_template",
        "load_version",
        "save_full",
        "twin_of",
    ),
    "merging": ("merge_version",),
    "methods": (
        "METHODS",
        "AdaptedLinear",
        "Dora",
        "Lora",
        "LoraLinear",
        "Method",
        "PrefixTuning",
        "kind_of",
        "linear_layers",
        "make_method",
    ),
    "quantized": ("QUANTIZATIONS", "Quantization", "QuantizedLinear", "make_dense"),
    "recomputing": ("recompute_activations",),
    "template": ("Answer", "Rendered", "Template"),
    "tokens": ("TokenTable",),
}

__all__ = [
    "ATTENTION_NAME",
    "AdaptedLinear",
    "Answer",
    "BaseFacts",
    "DenseLayout",
    "Dora",
    "EMBEDDED_BASE",
    "EMBEDDED_FAMILY",
    "Layout",
    "LoadedModel",
    "Lora",
    "LoraLinear",
    "METHODS",
    "Method",
    "PackedLayout",
    "PrefixTuning",
    "QUANTIZATIONS",
    "Quantization",
    "QuantizedLinear",
    "Rendered",
    "SavedAdapter",
    "Template",
    "TokenTable",
    "adapter_method",
    "adapter_parameters",
    "attach",
    "base_quantization",
    "choose_device",
    "dropouts",
    "embedded_directory",
    "fetch",
    "free_device_bytes",
    "inspect",
    "is_adapter",
    "kind_of",
    "linear_layers",
    "load_adapter",
    "load_base",
    "load_template",
    "load_version",
    "make_dense",
    "make_method",
    "merge_version",
    "merged",
    "moved",
    "native_dtype",
    "peak_device_bytes",
    "read_adapter",
    "recompute_activations",
    "release_cached",
    "require_own_name",
    "save_adapter",
    "save_full",
    "token_counter",
    "total_device_bytes",
    "twin_of",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"tailor.models.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
