"""What several token sequences begin with, found once: a prefix tree whose nodes are packed segments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

LEAST_SAVED_TOKENS = 16
"""A node of its own costs a block of attention; it must spare at least this much computing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """Token sequences as a forest: each token computed once however many sequences begin with it."""

    ids_T: Tensor
    """Token ids of all segments, one after the other."""

    lengths: tuple[int, ...]
    """Tokens of each segment."""

    parents: tuple[int, ...]
    """Segment that each goes on from, or -1; parents come first."""

    places: tuple[Tensor, ...]
    """For each sequence, where in `ids_T` each of its tokens is."""


def apart(sequences: Sequence[Tensor]) -> Segments:
    """Each sequence a segment of its own."""
    lengths = tuple(len(ids) for ids in sequences)
    ids_T = torch.cat(list(sequences)).long()
    places = torch.split(torch.arange(len(ids_T)), list(lengths))
    return Segments(ids_T=ids_T, lengths=lengths, parents=(-1,) * len(lengths), places=tuple(places))


def shared(sequences: Sequence[Tensor]) -> Segments:
    """Common beginnings once, in as many levels as they have."""
    tree = _Tree(sequences)
    tree.grow(list(range(len(sequences))), begin=0, parent=-1)
    places = [torch.cat(tree.parts[index]) for index in range(len(sequences))]
    return Segments(
        ids_T=torch.cat(tree.ids).long(),
        lengths=tuple(len(ids) for ids in tree.ids),
        parents=tuple(tree.parents),
        places=tuple(places),
    )


def common_length(one: Tensor, other: Tensor) -> int:
    """Tokens that both begin with."""
    least = min(len(one), len(other))
    differing = (one[:least] != other[:least]).nonzero()
    return int(differing[0]) if len(differing) else least


@dataclass(slots=True)
class _Tree:
    sequences: Sequence[Tensor]
    ids: list[Tensor] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    parts: dict[int, list[Tensor]] = field(default_factory=dict)
    num_tokens: int = 0

    def grow(self, members: list[int], *, begin: int, parent: int) -> None:
        """Segments for sequences that are equal up to `begin`, which ends at segment `parent`."""
        first = self.sequences[members[0]]
        end = min(common_length(first, self.sequences[each]) for each in members)
        if (end - begin) * (len(members) - 1) >= LEAST_SAVED_TOKENS:
            parent = self._segment(members, begin, end, parent)
            begin = end
        branches: dict[int, list[int]] = {}
        for each in members:
            ids = self.sequences[each]
            # A sequence that has no more tokens, or nobody beside it, goes no further down.
            branches.setdefault(int(ids[end]) if len(ids) > end else -1 - each, []).append(each)
        for branch in branches.values():
            if len(branch) > 1:
                self.grow(branch, begin=begin, parent=parent)
            elif len(self.sequences[branch[0]]) > begin:
                self._segment(branch, begin, len(self.sequences[branch[0]]), parent)

    def _segment(self, members: list[int], begin: int, end: int, parent: int) -> int:
        self.ids.append(self.sequences[members[0]][begin:end])
        self.parents.append(parent)
        place = torch.arange(self.num_tokens, self.num_tokens + end - begin)
        for each in members:
            self.parts.setdefault(each, []).append(place)
        self.num_tokens += end - begin
        return len(self.ids) - 1
