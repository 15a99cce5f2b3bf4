"""Attention over packed segments as plain matrix products: blocks of segments of similar length.

Shapes: H query heads, K key/value heads, G = H / K, T packed tokens, D head size; of a block: P tokens
before each segment, L own tokens of the longest segment, S = P + L, B = segments x K.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_SLACK = 1.1
"""Segments share a block while the longest is at most this much longer than the shortest (measured)."""


class _Block(NamedTuple):
    """A padded rectangle of segments: rows `queries` and `keys` of the gathered tensors."""

    num_segments: int
    before: int
    longest: int
    queries: slice
    keys: slice


class BlockPlan:
    """Index maps between packed rows (token x head) and the padded rows of the blocks."""

    def __init__(
        self,
        lengths: Sequence[int],
        paths: Sequence[Tensor],
        num_heads: int,
        num_key_heads: int,
        device: torch.device,
        num_prefix: int = 0,
    ) -> None:
        """`paths`: for each segment the indices of the keys before it, which it sees.

        Behind the keys of the packed tokens there may be those of a prefix.
        """
        self.num_heads, self.num_key_heads = num_heads, num_key_heads
        self.blocks: list[_Block] = []
        self._masks: dict[tuple[int, int, int | None, torch.dtype], Tensor] = {}
        starts = [0, *accumulate(lengths)]
        queries, keys = [], []
        num_queries = num_keys = 0
        for members in _similar(lengths, [len(path) for path in paths]):
            longest, before = max(lengths[i] for i in members), len(paths[members[0]])
            own_nL = torch.full((len(members), longest), -1)
            for row, i in enumerate(members):
                own_nL[row, : lengths[i]] = torch.arange(starts[i], starts[i] + lengths[i])
            seen_nS = torch.cat([torch.stack([paths[i] for i in members]), own_nL], 1)
            q, k = own_nL.numel() * num_heads, seen_nS.numel() * num_key_heads
            self.blocks.append(
                _Block(
                    len(members),
                    before,
                    longest,
                    slice(num_queries, num_queries + q),
                    slice(num_keys, num_keys + k),
                )
            )
            queries.append(own_nL)
            keys.append(seen_nS)
            num_queries, num_keys = num_queries + q, num_keys + k
        zeros = starts[-1]
        self.query_rows = _rows(queries, zeros, num_heads).to(device)
        self.key_rows = _rows(keys, zeros + num_prefix, num_key_heads).to(device)
        self.query_places = _places(self.query_rows, zeros * num_heads)
        is_shared = any(len(path) for path in paths)
        self.key_places = None if is_shared else _places(self.key_rows, zeros * num_key_heads)
        """None where keys are seen by several segments: their gradients have to be summed."""

    def mask(self, block: _Block, window: int | None, like: Tensor) -> Tensor:
        """Additive mask `[1, G x L, S]`."""
        key = (block.before, block.longest, window, like.dtype)
        if key not in self._masks:
            seen = visible(block.longest, block.before, window, like.device)
            mask = torch.zeros(seen.shape, dtype=like.dtype, device=like.device)
            mask.masked_fill_(~seen, float("-inf"))
            self._masks[key] = mask.repeat(self.num_heads // self.num_key_heads, 1)[None]
        return self._masks[key]

    def views(self, block: _Block, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """A block's part of the gathered rows: `[B, G x L, D]` and twice `[B, S, D]`."""
        batch, size = block.num_segments * self.num_key_heads, query.shape[-1]
        return (
            query[block.queries].view(batch, -1, size),
            key[block.keys].view(batch, -1, size),
            value[block.keys].view(batch, -1, size),
        )


def block_attention(
    query_HTD: Tensor,
    key_KTD: Tensor,
    value_KTD: Tensor,
    plan: BlockPlan,
    scaling: float,
    window: int | None,
) -> Tensor:
    """Attention output `[T, H, D]`; gradients flow to all three."""
    output: Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
        query_HTD, key_KTD, value_KTD, plan, scaling, window
    )
    return output


def visible(length: int, before: int, window: int | None, device: torch.device) -> Tensor:
    """`[L, P + L]`: query (row) sees key (column); `before` keys stand in front of the first query."""
    seen = torch.ones(length, before + length, dtype=torch.bool, device=device).tril(before)
    return seen if window is None else seen.triu(before + 1 - window)


class _BlockAttention(torch.autograd.Function):
    """Plain matrix products over blocks; on CPU three times as fast as the fused bf16 kernel."""

    @staticmethod
    def forward(
        ctx: Any,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        plan: BlockPlan,
        scaling: float,
        window: int | None,
    ) -> Tensor:
        query, key, value = _gathered(plan, query_HTD, key_KTD, value_KTD)
        output = torch.empty_like(query)
        probabilities = []
        for block in plan.blocks:
            q_BGLD, k_BSD, v_BSD = plan.views(block, query, key, value)
            scores = torch.baddbmm(
                plan.mask(block, window, query), q_BGLD, k_BSD.transpose(1, 2), alpha=scaling
            )
            shares = torch.softmax(scores, -1)
            torch.bmm(shares, v_BSD, out=output[block.queries].view_as(q_BGLD))
            probabilities.append(shares)
        ctx.save_for_backward(query_HTD, key_KTD, value_KTD, *probabilities)
        ctx.plan, ctx.scaling = plan, scaling
        num_heads, num_tokens, size = query_HTD.shape
        return output.index_select(0, plan.query_places).view(num_tokens, num_heads, size)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output_THD: Tensor) -> tuple[Tensor | None, ...]:
        query_HTD, key_KTD, value_KTD, *probabilities = ctx.saved_tensors
        plan, scaling = ctx.plan, ctx.scaling
        query, key, value = _gathered(plan, query_HTD, key_KTD, value_KTD)
        grad_output = _padded(grad_output_THD, plan.query_rows)
        grad_query, grad_key, grad_value = (torch.empty_like(tensor) for tensor in (query, key, value))
        for block, shares in zip(plan.blocks, probabilities, strict=True):
            q_BGLD, k_BSD, v_BSD = plan.views(block, query, key, value)
            grad_BGLD = grad_output[block.queries].view_as(q_BGLD)
            torch.bmm(shares.transpose(1, 2), grad_BGLD, out=grad_value[block.keys].view_as(v_BSD))
            grad_shares = torch.bmm(grad_BGLD, v_BSD.transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_shares, shares, -1, shares.dtype)
            torch.bmm(grad_scores, k_BSD, out=grad_query[block.queries].view_as(q_BGLD))
            torch.bmm(grad_scores.transpose(1, 2), q_BGLD, out=grad_key[block.keys].view_as(k_BSD))
        return (
            _unpadded(grad_query.mul_(scaling), plan.query_places, query_HTD),
            _summed(grad_key.mul_(scaling), plan, key_KTD),
            _summed(grad_value, plan, value_KTD),
            None,
            None,
            None,
        )


def _gathered(plan: BlockPlan, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor) -> tuple[Tensor, ...]:
    return (
        _padded(query_HTD.transpose(0, 1), plan.query_rows),
        _padded(key_KTD.transpose(0, 1), plan.key_rows),
        _padded(value_KTD.transpose(0, 1), plan.key_rows),
    )


def _padded(tensor_THD: Tensor, rows: Tensor) -> Tensor:
    """Block rows `[n, D]`, padding filled with zeros."""
    flat = tensor_THD.reshape(-1, tensor_THD.shape[-1])
    return torch.cat([flat, flat.new_zeros(1, flat.shape[1])]).index_select(0, rows)


def _unpadded(rows: Tensor, places: Tensor, like_HTD: Tensor) -> Tensor:
    num_heads, num_tokens, size = like_HTD.shape
    return rows.index_select(0, places).view(num_tokens, num_heads, size).transpose(0, 1)


def _summed(rows: Tensor, plan: BlockPlan, like_KTD: Tensor) -> Tensor:
    """Gradients of keys or values; a token that several segments see gets the sum of theirs."""
    if plan.key_places is not None:
        return _unpadded(rows, plan.key_places, like_KTD)
    num_heads, num_tokens, size = like_KTD.shape
    # In float32: hundreds of bf16 terms would lose the small ones.
    exact = torch.promote_types(rows.dtype, torch.float32)
    total = torch.zeros(num_tokens * num_heads + 1, size, dtype=exact, device=rows.device)
    total.index_add_(0, plan.key_rows, rows.to(exact))
    return total[:-1].to(rows.dtype).view(num_tokens, num_heads, size).transpose(0, 1)


def _similar(lengths: Sequence[int], befores: Sequence[int]) -> list[list[int]]:
    """Indices grouped so that padding within a group stays small; depends on the sizes alone."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (befores[i], lengths[i], i)):
        first = groups[-1][0] if groups else i
        is_alike = befores[i] == befores[first] and lengths[i] <= lengths[first] * _SLACK + 8
        if groups and is_alike:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _rows(tokens_of_blocks: list[Tensor], num_tokens: int, num_heads: int) -> Tensor:
    """Where each padded row comes from; the source ends with a row of zeros for the padding."""
    heads = torch.arange(num_heads)[:, None]
    zeros = torch.tensor(num_tokens * num_heads)
    return torch.cat(
        [
            torch.where(tokens[:, None] >= 0, tokens[:, None] * num_heads + heads, zeros).flatten()
            for tokens in tokens_of_blocks
        ]
    )


def _places(rows: Tensor, num_rows: int) -> Tensor:
    """Where each packed row went, if each went to one place."""
    places = torch.empty(num_rows + 1, dtype=torch.long, device=rows.device)
    places[rows] = torch.arange(len(rows), device=rows.device)
    return places[:num_rows]
