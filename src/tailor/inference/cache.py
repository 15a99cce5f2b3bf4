"""Where keys and values of running answers live.

Answers of like length share a shelf: one tensor per layer with a row for each answer, so that all of a
shelf's decoding rows attend in one padded call without copying anything. An answer that outgrows its
shelf moves to the next, twice as long. On a shelf the rows that decode come first, those whose prompt is
still being read after them.

Shapes: R rows, K key/value heads, C tokens a row can hold, D head size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
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
            # One index for all layers: a card would be sent each list by itself.
            both = torch.tensor([at, to], device=self._shape.device)
            for layer in (*self.keys, *self.values):
                layer[both] = layer[both.flip(0)]
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
                try:
                    self._resize(self._num_rows + more)
                except (MemoryError, RuntimeError):  # the machine has less than the budget says
                    self._budget.give_back(more * self.row_bytes)
                    return False
                return True
        return False

    def _resize(self, num_rows: int) -> None:
        """Reallocate; growth has been taken from the budget, shrinking gives back."""
        used = len(self.occupants)

        def allocate(layer: int, old: list[Tensor]) -> Tensor:
            heads, size = self._shape.layers[layer]
            new = torch.zeros(
                num_rows, heads, self.capacity, size, dtype=self._shape.dtype, device=self._shape.device
            )
            if used:
                new[:used] = old[layer][:used]
            return new

        keys = [allocate(layer, self.keys) for layer in range(len(self._shape.layers))]
        values = [allocate(layer, self.values) for layer in range(len(self._shape.layers))]
        self.keys, self.values = keys, values
        self._budget.give_back(max(self._num_rows - num_rows, 0) * self.row_bytes)
        self._num_rows, self._num_soiled = num_rows, used


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

    def put(self, occupant: Occupant, layers: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Begin an answer's row with keys and values `[K, P, D]` of each layer, as if they had been read."""
        shelf = occupant.shelf
        if shelf is None:
            raise ValueError("the answer has no row in the cache")
        for index, (key_KPD, value_KPD) in enumerate(layers):
            occupant.num_cached = key_KPD.shape[1]
            shelf.keys[index][occupant.row, :, : occupant.num_cached] = key_KPD
            shelf.values[index][occupant.row, :, : occupant.num_cached] = value_KPD

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
