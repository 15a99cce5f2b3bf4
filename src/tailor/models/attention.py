"""The one attention seam: models run on packed tokens `[1, T, hidden]`, attention decides who sees whom.

`transformers` models call the function registered here for each layer; what it does is decided by the
`layout` that the caller passes through the model's keyword arguments. Training packs whole examples
(`PackedLayout`); serving writes to and reads from a cache (`tailor.inference`). Linear layers never
see padding.

Shapes: H query heads, K key/value heads, G = H / K, T packed tokens, D head size, L longest example of a
block, B = examples of the block x K.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import AttentionInterface

ATTENTION_NAME = "tailor"

_LONG_TOKENS = 2048
"""Examples longer than this are attended by a kernel that never holds L x L scores."""

_BLOCK_SLACK = 1.1
"""Examples share a block while the longest is at most this much longer than the shortest (measured)."""


class Layout(Protocol):
    """Who sees whom, and where keys and values live."""

    def attend(
        self,
        layer_index: int,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Attention output `[T, H, D]` of the packed tokens in one layer."""
        ...


class DenseLayout:
    """The slow, exact reference: one mask over all packed tokens."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(lengths)

    def attend(
        self,
        layer_index: int,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Attention output `[T, H, D]`."""
        blocks = [_visible(length, sliding_window, query_HTD.device) for length in self.lengths]
        visible_TT = torch.block_diag(*blocks).bool()  # type: ignore[no-untyped-call]
        return _exact(query_HTD, key_KTD, value_KTD, visible_TT, scaling, softcap)


class PackedLayout:
    """Training: every example sees only itself, causally.

    Examples of similar length form blocks, padded at the end; the causal mask hides the padding, so blocks
    need no other mask. `positions` are the position ids that belong to the packing.
    """

    def __init__(self, lengths: Sequence[int]) -> None:
        self.lengths = tuple(lengths)
        self.positions = torch.cat([torch.arange(length) for length in self.lengths])
        self._plans: dict[tuple[int, int, torch.device], _Plan] = {}

    def attend(
        self,
        layer_index: int,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Attention output `[T, H, D]`."""
        if softcap is not None or max(self.lengths) > _LONG_TOKENS:
            return self._one_by_one(query_HTD, key_KTD, value_KTD, scaling, sliding_window, softcap)
        key = (query_HTD.shape[0], key_KTD.shape[0], query_HTD.device)
        if key not in self._plans:
            self._plans[key] = _Plan(self.lengths, *key)
        output: Tensor = _BlockAttention.apply(  # type: ignore[no-untyped-call]
            query_HTD, key_KTD, value_KTD, self._plans[key], scaling, sliding_window
        )
        return output

    def _one_by_one(
        self,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> Tensor:
        lengths = list(self.lengths)
        outputs = []
        split = (torch.split(tensor, lengths, 1) for tensor in (query_HTD, key_KTD, value_KTD))
        for query, key, value in zip(*split, strict=True):
            window = sliding_window if sliding_window and sliding_window < query.shape[1] else None
            if softcap is None and window is None:
                output = functional.scaled_dot_product_attention(
                    query[None], key[None], value[None], is_causal=True, scale=scaling, enable_gqa=True
                )[0].transpose(0, 1)
            else:
                visible = _visible(query.shape[1], window, query.device)
                output = _exact(query, key, value, visible, scaling, softcap)
            outputs.append(output)
        return torch.cat(outputs)


class _Block(NamedTuple):
    """A padded rectangle of examples: rows `queries` and `keys` of the gathered tensors."""

    num_examples: int
    longest: int
    queries: slice
    keys: slice


class _Plan:
    """Index maps between packed rows (token x head) and the padded rows of the blocks."""

    def __init__(
        self, lengths: Sequence[int], num_heads: int, num_key_heads: int, device: torch.device
    ) -> None:
        self.num_heads, self.num_key_heads = num_heads, num_key_heads
        self.blocks: list[_Block] = []
        self._masks: dict[tuple[int, int | None, torch.dtype], Tensor] = {}
        starts = [0, *accumulate(lengths)]
        tokens_per_block = []
        num_rows = 0
        for members in _similar(lengths):
            longest = max(lengths[i] for i in members)
            tokens_nL = torch.full((len(members), longest), -1)
            for row, i in enumerate(members):
                tokens_nL[row, : lengths[i]] = torch.arange(starts[i], starts[i] + lengths[i])
            size = tokens_nL.numel()
            self.blocks.append(
                _Block(
                    len(members),
                    longest,
                    slice(num_rows * num_heads, (num_rows + size) * num_heads),
                    slice(num_rows * num_key_heads, (num_rows + size) * num_key_heads),
                )
            )
            tokens_per_block.append(tokens_nL)
            num_rows += size
        self.query_rows, self.query_places = _rows(tokens_per_block, starts[-1], num_heads, device)
        self.key_rows, self.key_places = _rows(tokens_per_block, starts[-1], num_key_heads, device)

    def mask(self, block: _Block, window: int | None, like: Tensor) -> Tensor:
        """Additive mask `[1, G x L, L]`."""
        key = (block.longest, window, like.dtype)
        if key not in self._masks:
            visible = _visible(block.longest, window, like.device)
            mask = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
            mask.masked_fill_(~visible, float("-inf"))
            self._masks[key] = mask.repeat(self.num_heads // self.num_key_heads, 1)[None]
        return self._masks[key]


class _BlockAttention(torch.autograd.Function):
    """Plain matrix products over blocks; on CPU three times as fast as the fused bf16 kernel."""

    @staticmethod
    def forward(
        ctx: Any,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        plan: _Plan,
        scaling: float,
        window: int | None,
    ) -> Tensor:
        query, key, value = _gathered(plan, query_HTD, key_KTD, value_KTD)
        output = torch.empty_like(query)
        probabilities = []
        for block in plan.blocks:
            q_BGLD, k_BLD, v_BLD = _views(plan, block, query, key, value)
            scores = torch.baddbmm(
                plan.mask(block, window, query), q_BGLD, k_BLD.transpose(1, 2), alpha=scaling
            )
            shares = torch.softmax(scores, -1)
            torch.bmm(shares, v_BLD, out=output[block.queries].view_as(q_BGLD))
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
            q_BGLD, k_BLD, v_BLD = _views(plan, block, query, key, value)
            grad_BGLD = grad_output[block.queries].view_as(q_BGLD)
            torch.bmm(shares.transpose(1, 2), grad_BGLD, out=grad_value[block.keys].view_as(v_BLD))
            grad_shares = torch.bmm(grad_BGLD, v_BLD.transpose(1, 2))
            grad_scores = torch._softmax_backward_data(grad_shares, shares, -1, shares.dtype)
            torch.bmm(grad_scores, k_BLD, out=grad_query[block.queries].view_as(q_BGLD))
            torch.bmm(grad_scores.transpose(1, 2), q_BGLD, out=grad_key[block.keys].view_as(k_BLD))
        return (
            _unpadded(grad_query.mul_(scaling), plan.query_places, query_HTD),
            _unpadded(grad_key.mul_(scaling), plan.key_places, key_KTD),
            _unpadded(grad_value, plan.key_places, value_KTD),
            None,
            None,
            None,
        )


def _gathered(plan: _Plan, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor) -> tuple[Tensor, ...]:
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


def _views(plan: _Plan, block: _Block, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    batch, size = block.num_examples * plan.num_key_heads, query.shape[-1]
    return (
        query[block.queries].view(batch, -1, size),
        key[block.keys].view(batch, -1, size),
        value[block.keys].view(batch, -1, size),
    )


def _similar(lengths: Sequence[int]) -> list[list[int]]:
    """Indices grouped so that padding within a group stays small; depends on the lengths alone."""
    groups: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if groups and lengths[i] <= lengths[groups[-1][0]] * _BLOCK_SLACK + 8:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _rows(
    tokens_per_block: list[Tensor], num_tokens: int, num_heads: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Where each padded row comes from (the source ends with a row of zeros); where each packed row went."""
    zeros = num_tokens * num_heads
    heads = torch.arange(num_heads)[:, None]
    rows = torch.cat(
        [
            torch.where(
                tokens[:, None] >= 0, tokens[:, None] * num_heads + heads, torch.tensor(zeros)
            ).flatten()
            for tokens in tokens_per_block
        ]
    )
    places = torch.empty(zeros + 1, dtype=torch.long)
    places[rows] = torch.arange(len(rows))
    return rows.to(device), places[:zeros].to(device)


def _visible(length: int, window: int | None, device: torch.device) -> Tensor:
    """`[L, L]`: query (row) sees key (column)."""
    visible = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    return visible if window is None else visible.triu(1 - window)


def _exact(
    query_HTD: Tensor,
    key_KTD: Tensor,
    value_KTD: Tensor,
    visible_TT: Tensor,
    scaling: float,
    softcap: float | None,
) -> Tensor:
    """Attention written out, softmax in fp32; `[T, H, D]`."""
    groups = query_HTD.shape[0] // key_KTD.shape[0]
    key_HTD, value_HTD = (tensor.repeat_interleave(groups, 0) for tensor in (key_KTD, value_KTD))
    scores_HTT = query_HTD @ key_HTD.transpose(1, 2) * scaling
    if softcap is not None:
        scores_HTT = torch.tanh(scores_HTT / softcap) * softcap
    scores_HTT = scores_HTT.masked_fill(~visible_TT, float("-inf"))
    shares = torch.softmax(scores_HTT, -1, dtype=torch.float32).to(query_HTD.dtype)
    return (shares @ value_HTD).transpose(0, 1)


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Called by transformers once a layer; `[1, H, T, D]` in, `[1, T, H, D]` out."""
    output = layout.attend(
        int(module.layer_idx),  # type: ignore[arg-type]
        query[0],
        key[0],
        value[0],
        scaling=scaling if scaling is not None else query.shape[-1] ** -0.5,
        sliding_window=sliding_window,
        softcap=softcap,
    )
    return output.unsqueeze(0), None


AttentionInterface.register(ATTENTION_NAME, _attention)
