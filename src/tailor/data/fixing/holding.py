"""A validation part that training has not seen: in equal shares of every class, near copies kept together."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.similar import Alike, comparing, leaders, matches
from tailor.data.fixing.classes import classes_of, quotas
from tailor.data.fixing.drafts import Draft, hash_of
from tailor.data.fixing.parts import parts_of
from tailor.data.fixing.repeated import bands_of


def held_out(draft: Draft, *, share: float, threshold: float, seed: int) -> list[int]:
    """The places to hold out. No row outside asks the same as one of them, or nearly the same.

    Rows that ask nearly the same are one group, and a group is held out whole or not at all: where groups
    are large, the share that comes out is smaller than what was asked for.
    """
    asked = [_asked_key(draft, place) for place in range(len(draft))]
    bands = bands_of((parts_of(row).asked for row in draft), threshold=threshold)
    alike = comparing(lambda place: parts_of(draft[place]).asked, threshold=threshold)
    groups = _Groups(len(draft))
    first: dict[bytes, int] = {}
    for place, key in enumerate(asked):
        groups.join(place, first.setdefault(key, place))
    for place, lead in enumerate(leaders(bands.T, alike).tolist()):
        groups.join(place, lead)
    labels = classes_of(draft)
    while True:
        taken = _drawn(draft, groups, labels, share=share, seed=seed)
        leaks = _leaks(bands, taken, alike)
        if not leaks:
            return taken
        # Members of two groups can be alike though their leaders are not: then the groups are one.
        for one, other in leaks:
            groups.join(one, other)


class _Groups:
    """Places that belong together (union-find); the smallest place stands for its group."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def of(self, place: int) -> int:
        """The place that stands for the group of a place."""
        while self._parent[place] != place:
            self._parent[place] = self._parent[self._parent[place]]
            place = self._parent[place]
        return place

    def join(self, one: int, other: int) -> None:
        """Make the groups of two places one."""
        first, second = sorted((self.of(one), self.of(other)))
        self._parent[second] = first


def _drawn(draft: Draft, groups: _Groups, labels: list[str], *, share: float, seed: int) -> list[int]:
    members: dict[int, list[int]] = {}
    for place in range(len(draft)):
        members.setdefault(groups.of(place), []).append(place)
    left = quotas(Counter(labels), share)
    taken: list[int] = []
    draws = {head: hashlib.sha256(f"{seed}:{hash_of(draft[head])}".encode()).digest() for head in members}
    for head in sorted(members, key=lambda head: (draws[head], head)):
        wanted = Counter(labels[place] for place in members[head])
        if all(left[label] >= count for label, count in wanted.items()):
            for label, count in wanted.items():
                left[label] -= count
            taken.extend(members[head])
    return sorted(taken)


def _leaks(bands: Columns, taken: list[int], alike: Alike) -> list[tuple[int, int]]:
    inside = np.array(taken, dtype=np.int64)
    outside = np.setdiff1d(np.arange(len(bands)), inside)
    found = matches(
        bands.T,
        bands.T,
        lambda one, other: alike(int(outside[one]), int(inside[other])),
        rows=outside,
        other_rows=inside,
    )
    return [(int(outside[one]), int(inside[other])) for other, one in found.items()]


def _asked_key(draft: Draft, place: int) -> bytes:
    parts = parts_of(draft[place])
    return hashlib.blake2b(parts.asked.encode("utf-8", "surrogatepass"), digest_size=16).digest()
