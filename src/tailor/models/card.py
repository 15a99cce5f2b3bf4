"""Attention on a card: which kernel computes a layer, chosen in one place.

Where examples share nothing, variable-length flash attention, which needs no compiling; else FlexAttention
(`flex`). Where neither can be used, the blocks of the processor serve too: they are plain matrix products.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from tailor.models.devices import moved
from tailor.models.flex import FlexPlan
from tailor.models.forest import Forest

_LARGEST_FLASH_HEAD: Final = 256
_LEAST_FLEX_HEAD: Final = 16


class Plan(Protocol):
    """Who sees whom, as one kernel wants to have it."""

    def attend(
        self, query_HTD: Tensor, key_KSD: Tensor, value_KSD: Tensor, scaling: float, softcap: float | None
    ) -> Tensor:
        """Attention output `[T, H, D]`."""
        ...


class VarlenPlan:
    """Examples that share nothing, by flash attention over packed sequences."""

    def __init__(self, forest: Forest, window: int | None, device: torch.device) -> None:
        self._starts = moved(torch.tensor(forest.starts, dtype=torch.int32), device)
        self._longest = max(forest.lengths)
        # A window counts the token itself, the kernel only those before it.
        self._window = (-1 if window is None else window - 1, 0)

    def attend(
        self, query_HTD: Tensor, key_KSD: Tensor, value_KSD: Tensor, scaling: float, softcap: float | None
    ) -> Tensor:
        """Attention output `[T, H, D]`."""
        output_THD: Tensor = varlen_kernel()(
            query_HTD.transpose(0, 1),
            key_KSD.transpose(0, 1),
            value_KSD.transpose(0, 1),
            self._starts,
            self._starts,
            self._longest,
            self._longest,
            scale=scaling,
            window_size=self._window,
            enable_gqa=query_HTD.shape[0] != key_KSD.shape[0],
        )
        return output_THD


class CardAttention:
    """The plans of one layout, made when a layer first asks for them."""

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self._longest = max(
            depth + length for depth, length in zip(forest.depths, forest.lengths, strict=True)
        )
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def plan(
        self, query_HTD: Tensor, key_KSD: Tensor, window: int | None, softcap: float | None
    ) -> Plan | None:
        """How to attend in a layer; None if no kernel of a card can."""
        num_prefix = key_KSD.shape[1] - query_HTD.shape[1]
        if window is not None and window >= self._longest + num_prefix:
            window = None
        is_flash = self._is_flash(query_HTD, num_prefix, softcap)
        if not is_flash and not _is_flex(query_HTD):
            return None
        key = (is_flash, num_prefix, window, query_HTD.device)
        if key not in self._plans:
            self._plans[key] = (
                VarlenPlan(self._forest, window, query_HTD.device)
                if is_flash
                else FlexPlan(self._forest, num_prefix, window, query_HTD.device)
            )
        return self._plans[key]

    def _is_flash(self, query_HTD: Tensor, num_prefix: int, softcap: float | None) -> bool:
        size = query_HTD.shape[-1]
        return (
            all(parent < 0 for parent in self._forest.parents)
            and not num_prefix
            and softcap is None
            and query_HTD.dtype == torch.bfloat16
            and size % 8 == 0
            and size <= _LARGEST_FLASH_HEAD
            and varlen_kernel() is not None
        )


@lru_cache(maxsize=1)
def varlen_kernel() -> Any:
    """Flash attention over packed sequences; None where this torch cannot group heads in it."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn if "enable_gqa" in inspect.signature(varlen_attn).parameters else None


def _is_flex(query_HTD: Tensor) -> bool:
    """Whether FlexAttention can be compiled for such a layer."""
    is_known = query_HTD.dtype in (torch.bfloat16, torch.float32) and query_HTD.shape[-1] >= _LEAST_FLEX_HEAD
    return is_known and (query_HTD.device.type != "cuda" or _has_triton())


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return find_spec("triton") is not None
