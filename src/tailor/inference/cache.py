"""Keys and values of running answers, and attention over them.

Answers of like length share a shelf: one tensor per layer with a row for each answer, so that all of a
shelf's decoding rows attend in one padded call without copying anything. An answer that outgrows its
shelf moves to the next, twice as long. On a shelf the rows that decode come first, those whose prompt is
still being read after them.

Shapes: R rows, H query heads, K key/value heads, G = H / K, T packed new tokens, L tokens to look at,
C tokens a row can hold, D head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SHORTEST_ROW = 256  # tokens


class Occupant:
    """What the cache knows of an answer."""

    shelf: Shelf | None = None
    row = 0
    num_cached = 0
    """Tokens whose keys and values are in the row."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a model keeps for each token, learned by running one token through it."""

    layers: tuple[tuple[int, int], ...]
    """(key/value heads, head size) of every layer."""

    dtype: torch.dtype
    device: torch.device

    @property
    def bytes_per_token(self) -> int:
        """Keys and values of all layers."""
        return 2 * self.dtype.itemsize * sum(heads * size for heads, size in self.layers)


class ByteBudget:
    """A bound that several caches share."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.used_bytes = 0

    def take(self, num_bytes: int) -> bool:
        """Reserve, if there is room."""
        if self.used_bytes + num_bytes > self.limit_bytes:
            return False
        self.used_bytes += num_bytes
        return True

    def give_back(self, num_bytes: int) -> None:
        """Return what was taken."""
        self.used_bytes -= num_bytes


class Shelf:
    """Rows of one capacity; row numbers are positions in `occupants`."""

    def __init__(self, capacity: int, shape: CacheShape, budget: ByteBudget) -> None:
        self.capacity = capacity
        self.occupants: list[Occupant] = []
        self.num_decoding = 0
        self.keys: list[Tensor] = []
        self.values: list[Tensor] = []
        self._shape = shape
        self._budget = budget
        self._num_rows = 0
        self._num_soiled = 0  # rows from here on are as allocated: zeros
        self._resize(0)

    @property
    def row_bytes(self) -> int:
        """Memory of one row."""
        return self.capacity * self._shape.bytes_per_token

    @property
    def decoding(self) -> Sequence[Occupant]:
        """The answers that get a token at each step, in row order."""
        return self.occupants[: self.num_decoding]

    def add(self, occupant: Occupant) -> bool:
        """Give a row of zeros to an answer whose prompt is to be read; False if memory is short."""
        if len(self.occupants) == self._num_rows and not self._grow():
            return False
        occupant.shelf, occupant.row = self, len(self.occupants)
        self.occupants.append(occupant)
        # Masked positions still meet the values as 0 x value: what was left there must be finite.
        if occupant.row < self._num_soiled:
            for layer in (*self.keys, *self.values):
                layer[occupant.row].zero_()
        self._num_soiled = max(self._num_soiled, len(self.occupants))
        return True

    def promote(self, occupant: Occupant) -> None:
        """The answer's prompt is read: its row joins the decoding ones."""
        at, to = occupant.row, self.num_decoding
        if at != to:
            for layer in (*self.keys, *self.values):
                layer[[at, to]] = layer[[to, at]]
            other = self.occupants[to]
            self.occupants[at], self.occupants[to] = other, occupant
            other.row, occupant.row = at, to
        self.num_decoding += 1

    def copy_from(self, source: Shelf, row: int, occupant: Occupant) -> None:
        """Fill the answer's row with the first `num_cached` tokens of another."""
        length = occupant.num_cached
        for mine, theirs in zip((*self.keys, *self.values), (*source.keys, *source.values), strict=True):
            mine[occupant.row, :, :length] = theirs[row, :, :length]

    def remove(self, occupant: Occupant) -> None:
        """Free the answer's row; the last rows fill the hole."""
        hole = occupant.row
        if hole < self.num_decoding:
            self.num_decoding -= 1
            self._move(self.num_decoding, hole)
            hole = self.num_decoding
        self._move(len(self.occupants) - 1, hole)
        self.occupants.pop()
        occupant.shelf = None
        if len(self.occupants) * 4 <= self._num_rows:
            self._resize(len(self.occupants) * 2)

    def _move(self, source: int, target: int) -> None:
        if source == target:
            return
        occupant = self.occupants[source]
        self.occupants[target] = occupant
        length = occupant.num_cached
        for layer in (*self.keys, *self.values):
            layer[target].zero_()
            layer[target, :, :length] = layer[source, :, :length]
        occupant.row = target

    def _grow(self) -> bool:
        for more in (max(self._num_rows, 2), 1):
            if self._budget.take(more * self.row_bytes):
                self._resize(self._num_rows + more)
                return True
        return False

    def _resize(self, num_rows: int) -> None:
        """Reallocate; growth has been taken from the budget, shrinking gives back."""
        self._budget.give_back(max(self._num_rows - num_rows, 0) * self.row_bytes)
        used = len(self.occupants)
        self._num_rows, self._num_soiled = num_rows, used

        def allocate(layer: int, old: list[Tensor]) -> Tensor:
            heads, size = self._shape.layers[layer]
            new = torch.zeros(
                num_rows, heads, self.capacity, size, dtype=self._shape.dtype, device=self._shape.device
            )
            if used:
                new[:used] = old[layer][:used]
            return new

        self.keys = [allocate(layer, self.keys) for layer in range(len(self._shape.layers))]
        self.values = [allocate(layer, self.values) for layer in range(len(self._shape.layers))]


class Cache:
    """All shelves of one model."""

    def __init__(self, shape: CacheShape, budget: ByteBudget, context_length: int) -> None:
        self._shape = shape
        self._budget = budget
        self._context_length = context_length
        self._shelves: dict[int, Shelf] = {}

    @property
    def shelves(self) -> Iterable[Shelf]:
        """Shelves with answers, short rows first; the same order every time."""
        return [shelf for _, shelf in sorted(self._shelves.items()) if shelf.occupants]

    def is_full(self, occupant: Occupant) -> bool:
        """The answer's row has no room for another token."""
        return occupant.shelf is not None and occupant.num_cached == occupant.shelf.capacity

    def max_tokens(self) -> int:
        """The longest answer (with its prompt) that the memory budget can hold at all."""
        rows = self._budget.limit_bytes // max(self._shape.bytes_per_token, 1)
        lengths = [length for length in self._capacities() if length <= rows]
        return lengths[-1] if lengths else 0

    def add(self, occupant: Occupant, num_tokens: int) -> bool:
        """Find a row for an answer of so many tokens; False if memory is short."""
        return self._shelf_for(num_tokens).add(occupant)

    def fork(self, source: Occupant, copy: Occupant) -> bool:
        """Give `copy` a row with the same tokens as `source`, ready to decode."""
        if source.shelf is None or not source.shelf.add(copy):
            return False
        copy.num_cached = source.num_cached
        source.shelf.copy_from(source.shelf, source.row, copy)
        source.shelf.promote(copy)
        return True

    def make_longer(self, occupant: Occupant) -> bool:
        """See that a decoding answer's row has room for one more token; False if memory is short."""
        shelf, row = occupant.shelf, occupant.row
        if shelf is None or not self.is_full(occupant):
            return shelf is not None
        longer = self._shelf_for(occupant.num_cached + 1)
        if not longer.add(occupant):
            return False
        longer.copy_from(shelf, row, occupant)
        longer.promote(occupant)
        place = occupant.shelf, occupant.row
        occupant.row = row
        shelf.remove(occupant)
        occupant.shelf, occupant.row = place
        return True

    def remove(self, occupant: Occupant) -> None:
        """Free an answer's row."""
        if occupant.shelf is not None:
            occupant.shelf.remove(occupant)
            occupant.num_cached = 0

    def _capacities(self) -> list[int]:
        lengths = [_SHORTEST_ROW]
        while lengths[-1] < self._context_length:
            lengths.append(lengths[-1] * 2)
        return [min(length, self._context_length) for length in lengths]

    def _shelf_for(self, num_tokens: int) -> Shelf:
        # A whole context needs no room for the token after it: that one is never fed back.
        num_tokens = min(num_tokens, self._context_length)
        capacity = next(length for length in self._capacities() if length >= num_tokens)
        if capacity not in self._shelves:
            self._shelves[capacity] = Shelf(capacity, self._shape, self._budget)
        return self._shelves[capacity]


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
