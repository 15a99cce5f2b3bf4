"""Bases, chat templates, adapters and packed attention: everything that knows what a model is made of."""

from tailor.models.adapters import (
    LoraShape,
    LoraWeights,
    adapter_parameters,
    attach_lora,
    is_adapter,
    linear_shapes,
    load_adapter,
    read_adapter_weights,
    save_adapter,
)
from tailor.models.attention import ATTENTION_NAME, DenseLayout, Layout, PackedLayout
from tailor.models.catalogue import EMBEDDED_BASE, BaseFacts, embedded_directory, fetch, inspect
from tailor.models.loading import LoadedModel, load_base, load_template, load_version, native_dtype, save_full
from tailor.models.template import Answer, Rendered, Template

__all__ = [
    "ATTENTION_NAME",
    "Answer",
    "BaseFacts",
    "DenseLayout",
    "EMBEDDED_BASE",
    "Layout",
    "LoadedModel",
    "LoraShape",
    "LoraWeights",
    "PackedLayout",
    "Rendered",
    "Template",
    "adapter_parameters",
    "attach_lora",
    "embedded_directory",
    "fetch",
    "inspect",
    "is_adapter",
    "linear_shapes",
    "load_adapter",
    "load_base",
    "load_template",
    "load_version",
    "native_dtype",
    "read_adapter_weights",
    "save_adapter",
    "save_full",
]
