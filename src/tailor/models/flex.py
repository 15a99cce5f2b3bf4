"""Attention on a card by FlexAttention: one kernel for any forest of segments, window, soft cap and prefix.

A query sees a key if the key's segment is its own or one that it goes on from, and the key does not come
later. Segments are numbered in a walk from parents to children, so that all that go on from one are a range:
who sees whom is three comparisons of whole numbers. The kernel works on squares of 128 x 128 tokens and skips
those in which nobody sees anybody; which these are is found out here, on the processor, without asking the
card anything.

Shapes: H query heads, K key/value heads, T packed tokens, S keys, D head size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from tailor.models.devices import moved
from tailor.models.forest import Forest

SQUARE: Final = 128
_LEAST: Final = 2 * SQUARE
"""A single square would be compiled for by itself."""

_NOBODY: Final = -2
"""Place of a query that is padding: no key is seen from there."""

_MOST_KERNELS: Final = 64
"""Kinds of layers (heads, sizes, windows, with and without gradient) that one process may compile for."""

_Run = tuple[int, int, int]
"""Keys next to each other: the first one's index, how many, and the first one's position."""


class FlexPlan:
    """Who sees whom in layers with one window, and the squares in which somebody does."""

    def __init__(self, forest: Forest, num_prefix: int, window: int | None, device: torch.device) -> None:
        """A prefix stands behind the keys of the packed tokens."""
        self._forest, self._num_prefix, self._window = forest, num_prefix, window
        num_tokens = forest.starts[-1]
        self.num_queries = _rounded(num_tokens)
        self.num_keys = _rounded(num_tokens + num_prefix)
        some, every = self._squares()
        partial, full = (_lists(part) for part in (some & ~every, every))
        mask = BlockMask.from_kv_blocks(
            *partial,
            *full,
            BLOCK_SIZE=SQUARE,
            mask_mod=_seen([moved(table, device) for table in self._tables()], window),
            seq_lengths=(self.num_queries, self.num_keys),
        )
        self.mask = mask.to(device)

    def attend(
        self, query_HTD: Tensor, key_KSD: Tensor, value_KSD: Tensor, scaling: float, softcap: float | None
    ) -> Tensor:
        """Attention output `[T, H, D]`."""
        num_tokens = query_HTD.shape[1]
        output_1HTD: Tensor = kernel()(
            _padded(query_HTD, self.num_queries),
            _padded(key_KSD, self.num_keys),
            _padded(value_KSD, self.num_keys),
            score_mod=None if softcap is None else _capped(softcap),
            block_mask=self.mask,
            scale=scaling,
            enable_gqa=query_HTD.shape[0] != key_KSD.shape[0],
        )
        return output_1HTD[0, :, :num_tokens].transpose(0, 1)

    def _tables(self) -> list[Tensor]:
        """Of queries: place in the walk, position. Of keys: first and last place that sees them, position."""
        forest, num_prefix = self._forest, self._num_prefix
        firsts, lasts = forest.walk()
        lengths = torch.tensor(forest.lengths)
        place_T, last_T = (torch.repeat_interleave(torch.tensor(each), lengths) for each in (firsts, lasts))
        position_T = forest.positions
        prefix = torch.zeros(num_prefix, dtype=torch.long)
        first_S = torch.cat([place_T, prefix])
        last_S = torch.cat([last_T, prefix + len(firsts)])
        position_S = torch.cat([position_T, torch.arange(-num_prefix, 0)])
        return [
            _filled(place_T, self.num_queries, _NOBODY),
            _filled(position_T, self.num_queries, 0),
            _filled(first_S, self.num_keys, 0),
            _filled(last_S, self.num_keys, _NOBODY - 1),
            _filled(position_S, self.num_keys, 0),
        ]

    def _squares(self) -> tuple[Tensor, Tensor]:
        """Squares `[query, key]` in which somebody sees somebody, and in which everybody sees everybody."""
        some = torch.zeros(self.num_queries // SQUARE, self.num_keys // SQUARE, dtype=torch.bool)
        every = some.clone()
        for segment, (start, length) in enumerate(
            zip(self._forest.starts, self._forest.lengths, strict=False)
        ):
            runs, depth = self._runs(segment), self._forest.depths[segment]
            for row in range(start // SQUARE, _above(start + length)):
                begin, end = max(start, row * SQUARE), min(start + length, (row + 1) * SQUARE)
                positions = range(depth + begin - start, depth + end - start)
                for run in runs:
                    self._mark(some[row], every[row], run, positions, is_whole=end - begin == SQUARE)
        return some, every

    def _runs(self, segment: int) -> list[_Run]:
        """All keys that a segment may see, its own last."""
        forest = self._forest
        runs: list[_Run] = []
        while segment >= 0:
            runs.append((forest.starts[segment], forest.lengths[segment], forest.depths[segment]))
            segment = forest.parents[segment]
        if self._num_prefix:
            runs.append((forest.starts[-1], self._num_prefix, -self._num_prefix))
        return runs[::-1]

    def _mark(self, some: Tensor, every: Tensor, run: _Run, queries: range, *, is_whole: bool) -> None:
        """Note in a row of squares what queries at these positions see of a run of keys."""
        first, count, position = run
        reach = self._window or queries[-1] + self._num_prefix + 1
        # By the last query what is not too late, by the first one what is not too far away; and the reverse.
        begin, end = _part(first, count, position, queries[0] - reach, queries[-1])
        if begin < end:
            some[begin // SQUARE : _above(end)] = True
        begin, end = _part(first, count, position, queries[-1] - reach, queries[0])
        if is_whole and _above(begin) < end // SQUARE:
            every[_above(begin) : end // SQUARE] = True


@lru_cache(maxsize=1)
def kernel() -> Callable[..., Any]:
    """FlexAttention, compiled once for lengths of all sizes."""
    torch._dynamo.config.recompile_limit = max(_MOST_KERNELS, torch._dynamo.config.recompile_limit)
    compiled: Callable[..., Any] = torch.compile(flex_attention, dynamic=True, fullgraph=True)
    return compiled


def _seen(tables: Sequence[Tensor], window: int | None) -> Callable[..., Tensor]:
    """Whether a query sees a key, as the kernel asks it."""
    place_T, position_T, first_S, last_S, position_S = tables

    def is_seen(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_before = position_S[key] <= position_T[query]
        return is_before & (first_S[key] <= place_T[query]) & (place_T[query] <= last_S[key])

    if window is None:
        return is_seen

    def is_seen_near(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        is_near = position_S[key] > position_T[query] - window
        return is_near & is_seen(batch, head, query, key)

    return is_seen_near


def _capped(softcap: float) -> Callable[..., Tensor]:
    """Scores that never go beyond `softcap`."""

    def cap(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return cap


def _part(first: int, count: int, position: int, after: int, until: int) -> tuple[int, int]:
    """Of a run of keys those at positions above `after` and up to `until`, by their indices."""
    begin, end = max(0, after + 1 - position), min(count, until + 1 - position)
    return first + begin, first + max(begin, end)


def _lists(squares: Tensor) -> tuple[Tensor, Tensor]:
    """How many squares of each row are true, and which: these first, in order."""
    counts, order = squares.sum(1), squares.int().argsort(dim=1, descending=True, stable=True)
    return counts.int()[None, None], order.int()[None, None].contiguous()


def _padded(tensor_HTD: Tensor, length: int) -> Tensor:
    return functional.pad(tensor_HTD, (0, 0, 0, length - tensor_HTD.shape[1]))[None]


def _filled(table: Tensor, length: int, value: int) -> Tensor:
    return functional.pad(table, (0, length - len(table)), value=value).int()


def _rounded(count: int) -> int:
    return max(_LEAST, _above(count) * SQUARE)


def _above(count: int) -> int:
    """Squares that hold so many tokens."""
    return -(-count // SQUARE)
