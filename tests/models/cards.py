"""Kernels of a card, told by torch's own definitions, where there is no card."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.nn.attention import flex_attention as flex


def use_flex_by_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention as torch itself computes it without a compiler, gradients too.

    torch refuses gradients on the processor, for want of a kernel; what it would compute is all there.
    """
    options = flex._apply_kernel_options

    def with_sums(*arguments: Any, **more: Any) -> Any:
        return options(*arguments, **more) | {"OUTPUT_LOGSUMEXP": True}

    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)
    monkeypatch.setattr(flex, "_apply_kernel_options", with_sums)
    monkeypatch.setattr(flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
    monkeypatch.setattr("tailor.models.flex.kernel", lambda: flex.flex_attention)


def varlen_by_definition(
    query_THD: torch.Tensor,
    key_TKD: torch.Tensor,
    value_TKD: torch.Tensor,
    starts_q: torch.Tensor,
    starts_k: torch.Tensor,
    longest_q: int,
    longest_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """`torch.nn.attention.varlen.varlen_attn` by its documentation, sequence by sequence."""
    assert starts_q.dtype == starts_k.dtype == torch.int32
    assert window_size[1] == 0, "causal"
    outputs = []
    bounds = starts_q.tolist()
    assert max(end - begin for begin, end in pairwise(bounds)) <= longest_q == longest_k
    for begin, end in pairwise(bounds):
        query, key, value = (part[begin:end].transpose(0, 1) for part in (query_THD, key_TKD, value_TKD))
        assert enable_gqa or len(query) == len(key)
        key, value = (part.repeat_interleave(len(query) // len(key), 0) for part in (key, value))
        places = torch.arange(end - begin, device=query.device)
        ago = places[:, None] - places
        is_seen = (ago >= 0) & ((ago <= window_size[0]) | (window_size[0] < 0))
        scores = (query @ key.transpose(1, 2) * scale).masked_fill(~is_seen, float("-inf"))
        outputs.append((scores.softmax(-1) @ value).transpose(0, 1))
    return torch.cat(outputs)


def flex_by_blocks(
    query_1HTD: torch.Tensor,
    key_1KSD: torch.Tensor,
    value_1KSD: torch.Tensor,
    *,
    score_mod: Any,
    block_mask: Any,
    scale: float,
    enable_gqa: bool,
) -> torch.Tensor:
    """FlexAttention as its kernels compute it: only listed squares, and no question asked in full ones."""
    query, key, value = query_1HTD[0], key_1KSD[0], value_1KSD[0]
    assert query.shape[1:2] + key.shape[1:2] == block_mask.seq_lengths
    assert enable_gqa or len(query) == len(key)
    key, value = (part.repeat_interleave(len(query) // len(key), 0) for part in (key, value))
    is_seen = seen_by_squares(block_mask)
    scores = query @ key.transpose(1, 2) * scale
    if score_mod is not None:
        scores = score_mod(scores, None, None, None, None)
    scores = scores.masked_fill(~is_seen, -1e30)  # a row that sees nothing is padding
    return ((scores.softmax(-1, dtype=torch.float32).to(query.dtype) * is_seen.any(1)[:, None]) @ value)[None]


def seen_by_squares(mask: Any) -> torch.Tensor:
    """`[T, S]`: what a kernel that goes by the lists of squares lets queries see."""
    (size, _), device = mask.BLOCK_SIZE, mask.kv_num_blocks.device
    queries, keys = (torch.arange(length, device=device) for length in mask.seq_lengths)
    asked = mask.mask_mod(None, None, queries[:, None], keys[None])
    partial, full = (
        _listed(*lists).to(device).repeat_interleave(size, 0).repeat_interleave(size, 1)
        for lists in ((mask.kv_num_blocks, mask.kv_indices), (mask.full_kv_num_blocks, mask.full_kv_indices))
    )
    seen: torch.Tensor = full | (partial & asked)
    return seen


def _listed(counts: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    squares = torch.zeros(indices.shape[2:], dtype=torch.bool)
    for row, (count, listed) in enumerate(zip(counts[0, 0].tolist(), indices[0, 0].tolist(), strict=True)):
        squares[row, listed[:count]] = True
    return squares
