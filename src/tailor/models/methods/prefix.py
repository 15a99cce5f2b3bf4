"""Prefix tuning (Li and Liang 2021, arXiv:2101.00190): trained keys and values in front of every example.

The prefix stands at positions 0 to P-1, the example's tokens from P on, as PEFT has it. In packed batches it
is a segment that all examples go on from; in serving it lies in the cache like tokens already read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from tailor.errors import InvalidRequest
from tailor.models.attention import Layout, Prefix, PrefixedLayout
from tailor.models.methods.linear import copy_into, misfit

_MAX_TOKENS = 256
_NAME = "prompt_embeddings"
_MODULE = "prefix"


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
        config: Any = model.config
        generator = torch.Generator().manual_seed(seed)
        ids = torch.randint(config.vocab_size, (1, self.num_virtual_tokens), generator=generator)
        heard = _Recording()
        device = next(model.parameters()).device
        with torch.no_grad():
            model.model(input_ids=ids.to(device), use_cache=False, layout=heard)  # type: ignore[operator]
        model.requires_grad_(False)
        model.add_module(_MODULE, _Prefix(heard.kept))
        body = cast(nn.Module, model.model)
        body.register_forward_pre_hook(_Hook(model), with_kwargs=True)

    def config(self, model: nn.Module) -> dict[str, Any]:
        """PEFT's `PrefixTuningConfig`."""
        layers = cast(_Prefix, model.get_submodule(_MODULE)).layers
        heads, size = layers[0]
        return {
            "peft_type": "PREFIX_TUNING",
            "num_virtual_tokens": self.num_virtual_tokens,
            "num_transformer_submodules": 1,
            "num_layers": len(layers),
            "num_attention_heads": heads,
            "token_dim": heads * size,
            "prefix_projection": False,
            "encoder_hidden_size": heads * size,
        }
