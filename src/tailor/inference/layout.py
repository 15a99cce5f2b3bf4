"""Attention over the cache: who sees whom when answers are written.

Decoding rows of a shelf attend in one padded call, prompts one by one and causally.

Shapes: R rows, H query heads, K key/value heads, G = H / K, T packed new tokens, L tokens to look at,
C tokens a row can hold, D head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from tailor.inference.cache import CacheShape, Occupant, Shelf


class DecodeSpan:
    """Packed tokens `start` to `stop`: one new token for each decoding row of a shelf."""

    def __init__(self, shelf: Shelf, start: int) -> None:
        self._shelf = shelf
        self._start, self._stop = start, start + shelf.num_decoding
        positions = [occupant.num_cached for occupant in shelf.decoding]
        self._length = max(positions) + 1
        self._position_R = torch.tensor(positions, device=shelf.keys[0].device)
        self._places: dict[int, Tensor] = {}
        self._masks: dict[int | None, Tensor] = {}

    def attend(
        self, layer: int, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, attention: _Attention
    ) -> Tensor:
        """Write the new keys and values, then look at everything cached; `[R, H, D]`."""
        part = slice(self._start, self._stop)
        keys, values = self._shelf.keys[layer], self._shelf.values[layer]
        num_heads, size = keys.shape[1], keys.shape[3]
        place = self._place(num_heads)
        keys.view(-1, size).index_copy_(0, place, key_KTD[:, part].reshape(-1, size))
        values.view(-1, size).index_copy_(0, place, value_KTD[:, part].reshape(-1, size))
        num_rows = self._stop - self._start
        # The query heads that share a key head look at the same keys: they are rows of one product.
        query_RKGD = query_HTD[:, part].transpose(0, 1).reshape(num_rows, num_heads, -1, size)
        output_RKGD = attention(
            query_RKGD,
            keys[:num_rows, :, : self._length],
            values[:num_rows, :, : self._length],
            self._mask(attention.sliding_window, query_HTD.dtype),
        )
        return output_RKGD.reshape(num_rows, -1, size)

    def _place(self, num_heads: int) -> Tensor:
        """Where each row's new token goes in a layer seen as `[R * K * C, D]`, heads first."""
        if num_heads not in self._places:
            capacity, device = self._shelf.capacity, self._position_R.device
            row_R = torch.arange(self._stop - self._start, device=device) * num_heads
            head_K = torch.arange(num_heads, device=device)
            place_KR = (row_R[None] + head_K[:, None]) * capacity + self._position_R[None]
            self._places[num_heads] = place_KR.flatten()
        return self._places[num_heads]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """`[R, 1, 1, L]`, 0 where a row looks and minus infinity elsewhere."""
        if window not in self._masks:
            at_L = torch.arange(self._length, device=self._position_R.device)[None]
            is_hidden = at_L > self._position_R[:, None]
            if window is not None:
                is_hidden |= at_L <= self._position_R[:, None] - window
            mask = torch.zeros(is_hidden.shape, dtype=dtype, device=is_hidden.device)
            self._masks[window] = mask.masked_fill_(is_hidden, float("-inf"))[:, None, None]
        return self._masks[window]


class PromptSpan:
    """Packed tokens `start` to `stop`: the next tokens of one prompt, `num_cached` being read already."""

    def __init__(self, occupant: Occupant, start: int, num_tokens: int) -> None:
        if occupant.shelf is None:
            raise ValueError("the prompt has no row in the cache")
        self._shelf, self._row = occupant.shelf, occupant.row
        self._start, self._stop = start, start + num_tokens
        self._first, self._length = occupant.num_cached, occupant.num_cached + num_tokens
        self._masks: dict[int | None, Tensor] = {}

    def attend(
        self, layer: int, query_HTD: Tensor, key_KTD: Tensor, value_KTD: Tensor, attention: _Attention
    ) -> Tensor:
        """Write the new keys and values, then look at the prompt so far; `[T, H, D]`."""
        part = slice(self._start, self._stop)
        keys, values = self._shelf.keys[layer][self._row], self._shelf.values[layer][self._row]
        keys[:, self._first : self._length] = key_KTD[:, part]
        values[:, self._first : self._length] = value_KTD[:, part]
        output_HTD = attention(
            query_HTD[None, :, part],
            keys[None, :, : self._length],
            values[None, :, : self._length],
            self._mask(attention, query_HTD.dtype),
        )[0]
        return output_HTD.transpose(0, 1)

    def _mask(self, attention: _Attention, dtype: torch.dtype) -> Tensor | None:
        """`[T, L]`; None where plain causal attention says the same."""
        window = attention.sliding_window
        if window is not None and window >= self._length:
            window = None
        if self._first == 0 and window is None and attention.softcap is None:
            return None
        if window not in self._masks:
            device = self._shelf.keys[0].device
            at_L = torch.arange(self._length, device=device)[None]
            query_T = torch.arange(self._first, self._length, device=device)[:, None]
            is_hidden = at_L > query_T
            if window is not None:
                is_hidden |= at_L <= query_T - window
            mask = torch.zeros(is_hidden.shape, dtype=dtype, device=device)
            self._masks[window] = mask.masked_fill_(is_hidden, float("-inf"))
        return self._masks[window]


@dataclass(frozen=True, slots=True)
class _Attention:
    """One layer's way to attend."""

    scaling: float
    sliding_window: int | None
    softcap: float | None

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
        """`[.., H, T, D]` against `[.., K, L, D]`; no mask means causal."""
        is_grouped = query.shape[1] != key.shape[1]
        if self.softcap is None:
            return F.scaled_dot_product_attention(
                query,
                key,
                value,
                attn_mask=mask,
                is_causal=mask is None,
                scale=self.scaling,
                enable_gqa=is_grouped,
            )
        if is_grouped:
            key = key.repeat_interleave(query.shape[1] // key.shape[1], dim=1)
            value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
        scores = torch.matmul(query, key.transpose(-1, -2)).mul_(self.scaling / self.softcap)
        scores = scores.tanh_().mul_(self.softcap).add_(mask if mask is not None else 0.0)
        return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(value.dtype), value)


class CachedLayout:
    """`tailor.models.attention.Layout` for serving: new tokens against the cache."""

    def __init__(self, spans: Sequence[DecodeSpan | PromptSpan]) -> None:
        self._spans = spans

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
        """Attention output `[T, H, D]`; the spans cover all packed tokens in order."""
        attention = _Attention(scaling, sliding_window, softcap)
        parts = [span.attend(layer_index, query_HTD, key_KTD, value_KTD, attention) for span in self._spans]
        return parts[0] if len(parts) == 1 else torch.cat(parts)


class ShapeProbe:
    """A layout for one token that only notes what each layer keeps."""

    def __init__(self) -> None:
        self._layers: dict[int, tuple[int, int]] = {}
        self._kind: tuple[torch.dtype, torch.device] | None = None

    @property
    def shape(self) -> CacheShape:
        """What was seen; the model has to have run."""
        if self._kind is None or sorted(self._layers) != list(range(len(self._layers))):
            raise ValueError("the model did not attend through our layout in every layer")
        return CacheShape(tuple(self._layers[layer] for layer in range(len(self._layers))), *self._kind)

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
        """A single token sees only itself: its own value."""
        self._layers[layer_index] = (key_KTD.shape[0], key_KTD.shape[2])
        self._kind = (key_KTD.dtype, key_KTD.device)
        share = query_HTD.shape[0] // value_KTD.shape[0]
        return value_KTD.repeat_interleave(share, dim=0).transpose(0, 1)
