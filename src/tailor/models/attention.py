"""The one attention seam: models run on packed tokens `[1, T, hidden]`, attention decides who sees whom.

`transformers` models call the function registered here for each layer; what it does is decided by the
`layout` that the caller passes through the model's keyword arguments. Training packs whole examples
(`PackedLayout`); serving writes to and reads from a cache (`tailor.inference`). Linear layers never
see padding.

Shapes: H query heads, K key/value heads, T packed tokens, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface

from tailor.models.blocks import BlockPlan, block_attention, visible
from tailor.models.forest import Forest

if TYPE_CHECKING:
    from tailor.models.card import CardAttention

ATTENTION_NAME = "tailor"

KeysValues = tuple[Tensor, Tensor]
"""Of one layer: keys and values `[K, P, D]`."""

_LONG_TOKENS = 2048
"""Examples longer than this are attended by a kernel that never holds all L x L scores."""


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


class DenseLayout(Forest):
    """The slow, exact reference: one mask over all packed tokens."""

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
        num_tokens, num_keys = query_HTD.shape[1], key_KTD.shape[1]
        visible_TT = torch.zeros(num_tokens, num_keys, dtype=torch.bool, device=query_HTD.device)
        for segment, (begin, length) in enumerate(zip(self.starts, self.lengths, strict=False)):
            own = torch.arange(begin, begin + length)
            seen = torch.cat([self.path(segment, num_keys - num_tokens), own])
            window = visible(length, len(seen) - length, sliding_window, query_HTD.device)
            visible_TT[own[:, None], seen] = window
        return _exact(query_HTD, key_KTD, value_KTD, visible_TT, scaling, softcap)


class PackedLayout(Forest):
    """Training: every example sees only itself, causally; what several begin with is there once.

    On the processor segments of similar length form blocks, padded at the end; the causal mask hides the
    padding, so blocks need no other mask. A card has kernels of its own (`card`). `positions` are the
    position ids that belong to the packing.
    """

    def __init__(self, lengths: Sequence[int], parents: Sequence[int] = ()) -> None:
        super().__init__(lengths, parents)
        self._plans: dict[tuple[int, int, torch.device, int], BlockPlan] = {}
        self.is_long = any(
            length * (depth + length) > _LONG_TOKENS**2
            for depth, length in zip(self.depths, self.lengths, strict=True)
        )

    @cached_property
    def _card(self) -> CardAttention:
        from tailor.models.card import CardAttention  # brings torch's compiler along

        return CardAttention(Forest(self.lengths, self.parents))

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
        if query_HTD.device.type != "cpu":
            plan = self._card.plan(query_HTD, key_KTD, sliding_window, softcap)
            if plan is not None:
                return plan.attend(query_HTD, key_KTD, value_KTD, scaling, softcap)
        if softcap is not None or self.is_long:
            return self._one_by_one(query_HTD, key_KTD, value_KTD, scaling, sliding_window, softcap)
        num_prefix = key_KTD.shape[1] - query_HTD.shape[1]
        key = (query_HTD.shape[0], key_KTD.shape[0], query_HTD.device, num_prefix)
        if key not in self._plans:
            paths = [self.path(segment, num_prefix) for segment in range(len(self.lengths))]
            self._plans[key] = BlockPlan(self.lengths, paths, *key)
        return block_attention(query_HTD, key_KTD, value_KTD, self._plans[key], scaling, sliding_window)

    def _one_by_one(
        self,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> Tensor:
        outputs = []
        for segment, (begin, length) in enumerate(zip(self.starts, self.lengths, strict=False)):
            query = query_HTD[:, begin : begin + length]
            path = self.path(segment, key_KTD.shape[1] - query_HTD.shape[1])
            seen = torch.cat([path, torch.arange(begin, begin + length)]).to(query.device)
            key, value = key_KTD.index_select(1, seen), value_KTD.index_select(1, seen)
            before = len(seen) - length
            window = sliding_window if sliding_window and sliding_window < len(seen) else None
            if softcap is None and window is None:
                mask = visible(length, before, None, query.device) if before else None
                output = functional.scaled_dot_product_attention(
                    query[None],
                    key[None],
                    value[None],
                    attn_mask=mask,
                    is_causal=mask is None,
                    scale=scaling,
                    enable_gqa=True,
                )[0].transpose(0, 1)
            else:
                mask = visible(length, before, window, query.device)
                output = _exact(query, key, value, mask, scaling, softcap)
            outputs.append(output)
        return torch.cat(outputs)


class PrefixedLayout:
    """A packed layout whose examples all see the same trained keys and values first."""

    def __init__(self, layout: Layout, layers: Sequence[KeysValues]) -> None:
        self._layout, self._layers = layout, layers

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
        key_KPD, value_KPD = self._layers[layer_index]
        return self._layout.attend(
            layer_index,
            query_HTD,
            torch.cat([key_KTD, key_KPD], 1),
            torch.cat([value_KTD, value_KPD], 1),
            scaling=scaling,
            sliding_window=sliding_window,
            softcap=softcap,
        )


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
