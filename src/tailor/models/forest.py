"""Segments of packed tokens: what several examples begin with is there once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor


class Forest:
    """Segments of packed tokens. A segment may go on from another one: it sees all that one sees, and it.

    Examples that begin alike share the segment they begin with, so it is computed once. `lengths` are the
    segments' own tokens; `parents` the index of the one before, smaller than their own, or -1.
    """

    def __init__(self, lengths: Sequence[int], parents: Sequence[int] = ()) -> None:
        self.lengths = tuple(lengths)
        self.parents = tuple(parents) or (-1,) * len(self.lengths)
        self.starts = (0, *accumulate(self.lengths))
        """Index of each segment's first packed token; one more at the end."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + self.lengths[parent])
        self.depths = tuple(depths)
        """Tokens before each segment, in the segments it goes on from."""

    @property
    def positions(self) -> Tensor:
        """Position ids `[T]` that belong to the packing."""
        return torch.cat(
            [torch.arange(depth, depth + n) for depth, n in zip(self.depths, self.lengths, strict=True)]
        )

    def path(self, segment: int, num_prefix: int = 0) -> Tensor:
        """Indices of the keys before a segment, the first one first.

        Keys behind those of the packed tokens are a prefix, which every example sees first.
        """
        parts = []
        while (segment := self.parents[segment]) >= 0:
            parts.append(torch.arange(self.starts[segment], self.starts[segment] + self.lengths[segment]))
        parts.append(torch.arange(self.starts[-1], self.starts[-1] + num_prefix))
        return torch.cat(parts[::-1])

    def walk(self) -> tuple[list[int], list[int]]:
        """Of each segment its number in a walk from parents to children, and the last number below it."""
        sizes = [1] * len(self.lengths)
        for segment in reversed(range(len(self.lengths))):
            if self.parents[segment] >= 0:
                sizes[self.parents[segment]] += sizes[segment]
        firsts: list[int] = []
        taken = [0] * len(self.lengths)  # numbers given to the children of each so far
        roots = 0
        for segment, parent in enumerate(self.parents):
            if parent < 0:
                firsts.append(roots)
                roots += sizes[segment]
            else:
                firsts.append(firsts[parent] + 1 + taken[parent])
                taken[parent] += sizes[segment]
        return firsts, [first + size - 1 for first, size in zip(firsts, sizes, strict=True)]
