"""How alike two texts are, and which of many are alike, without comparing each with each.

A text is the set of its four-byte windows, case and spacing set aside and repeated ones counted; two texts
are as alike as their sets overlap (Jaccard). In short texts one slip of a key spoils a fifth of the windows,
so texts that are the same but for slips, fillers and punctuation are alike too. MinHash with banding names
candidates, and every candidate is then compared exactly: what is reported as alike is alike, and only a
candidate that MinHash misses can be missing (under 1 % at the threshold itself, next to none above it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from tailor.data.doctor.columns import Columns, places_of_shared
from tailor.data.doctor.wording import content_words, same_words

NUM_HASHES: Final = 128
"""Hash functions of a signature."""

WINDOW_BYTES: Final = 4
"""Width of the windows a text is cut into."""

_SEED: Final = 42
_MOST_COMPARED: Final = 10
"""Candidates compared exactly for one text; those that share most bands come first."""

_MOST_OF_A_KEY: Final = 64
"""Candidates that one shared key names at most: a key of a much-used phrase names many."""

_MOST_KEPT: Final = 2_048
"""Sets in recent use that a comparison keeps: one takes some 30 kB."""

_MISSED_AT_THRESHOLD: Final = 0.01

Bands = Sequence[Columns] | Columns
"""A column of keys for each band."""

Window = bytes | tuple[bytes, int]
"""A window of a text, or how often it has come."""

Alike = Callable[[int, int], bool]
"""Whether the texts at two places are alike."""


def plain(text: str) -> str:
    """The text with case and spacing set aside."""
    return " ".join(text.casefold().split())


def windows(text: str) -> frozenset[Window]:
    """The set that stands for a text; empty for an empty one.

    A window that comes again is counted again, as (window, 2), (window, 3) ...: else a text that says one
    thing ten times would be like one that says it twice.
    """
    letters = plain(text).encode("utf-8", "surrogatepass")
    if len(letters) <= WINDOW_BYTES:
        return frozenset((letters,)) if letters else frozenset()
    cut = [letters[at : at + WINDOW_BYTES] for at in range(len(letters) - WINDOW_BYTES + 1)]
    found: set[Window] = set(cut)
    if len(found) < len(cut):
        times: Counter[bytes] = Counter()
        for window in cut:
            times[window] += 1
            if times[window] > 1:
                found.add((window, times[window]))
    return frozenset(found)


def similarity(one: frozenset[Window], other: frozenset[Window]) -> float:
    """Jaccard: what two sets share of what they hold together, from 0 to 1."""
    shared = len(one & other)
    together = len(one) + len(other) - shared
    return shared / together if together else 0.0


def shape_of_bands(threshold: float) -> tuple[int, int]:
    """(bands, hashes in each): the strictest that misses under 1 % of pairs as alike as `threshold`."""
    for rows in range(NUM_HASHES, 1, -1):
        bands = NUM_HASHES // rows
        if (1 - threshold**rows) ** bands <= _MISSED_AT_THRESHOLD:
            return bands, rows
    return NUM_HASHES, 1


def band_keys(texts: Sequence[str], *, threshold: float) -> Columns:
    """One row of 32-bit keys for each text; texts that share a key in one column may be alike.

    A function of each text alone, so that blocks of a large corpus can be done anywhere and concatenated.
    An empty text is like no other: its keys are 0, which no other text has.
    """
    import rensa  # not among what the bare client installs

    bands, rows = shape_of_bands(threshold)
    hashes, offsets = _hashed_windows(texts)
    matrix = rensa.RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, NUM_HASHES, _SEED)
    signatures = np.asarray(matrix.to_rows(), dtype=np.uint64).reshape(len(texts), NUM_HASHES)
    keys = np.zeros((len(texts), bands), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for row in range(rows):
            keys = (keys ^ signatures[:, row : bands * rows : rows]) * np.uint64(0x9E3779B97F4A7C15)
            keys ^= keys >> np.uint64(29)
    found = np.maximum(keys >> np.uint64(32), 1).astype(np.uint32)
    found[offsets[1:] == offsets[:-1]] = 0
    return np.asarray(found)


def leaders(bands: Bands, alike: Alike, *, rows: Columns | None = None) -> Columns:
    """For each row the place of the row that leads its group: itself, or an earlier one it is alike.

    Rows are taken in order; each joins the first leader that it is found alike, or becomes one. So every
    member is alike its leader, chains of small changes do not run together, and no two leaders are alike.
    With `rows` only those count; `alike` and the result speak of places among them.
    """
    found = np.arange(_count(bands, rows), dtype=np.int64)
    entries = _Entries()
    for band in _chosen(bands, rows):
        places = places_of_shared(band)
        keys, key_of = np.unique(band[places], return_inverse=True)
        entries.add(places, key_of, num_keys=len(keys))
    buckets = _Buckets(entries.sizes())
    for row, keys_of_row in entries.by_row():
        for leader in buckets.candidates(keys_of_row):
            if alike(leader, row):
                found[row] = leader
                break
        else:
            buckets.add(row, keys_of_row)
    return found


def matches(
    bands: Bands,
    others: Bands,
    alike: Alike,
    *,
    rows: Columns | None = None,
    other_rows: Columns | None = None,
) -> dict[int, int]:
    """Row of `others` -> a row of `bands` it is alike, for those that have one.

    `alike` is asked with a row of `bands` first. With `rows` and `other_rows` only those count; `alike` and
    the result speak of places among them.
    """
    mine, theirs = _Entries(), _Entries()
    for band, other in zip(_chosen(bands, rows), _chosen(others, other_rows), strict=True):
        keys = np.intersect1d(band, other)
        keys = keys[keys != 0]
        for entries, column in ((mine, band), (theirs, other)):
            places = np.flatnonzero(np.isin(column, keys))
            entries.add(places, np.searchsorted(keys, column[places]), num_keys=len(keys))
    buckets = _Buckets(mine.sizes())
    for row, keys_of_row in mine.by_row():
        buckets.add(row, keys_of_row)
    found: dict[int, int] = {}
    for row, keys_of_row in theirs.by_row():
        match = next((lead for lead in buckets.candidates(keys_of_row) if alike(lead, row)), None)
        if match is not None:
            found[row] = match
    return found


def comparing(text_of: Callable[[int], str], *, threshold: float) -> Alike:
    """A comparison of the texts at two places of one corpus; sets in recent use are kept."""
    return comparing_two(text_of, text_of, threshold=threshold)


def comparing_two(one: Callable[[int], str], other: Callable[[int], str], *, threshold: float) -> Alike:
    """A comparison of a text of one corpus with a text of another."""
    seen = lru_cache(maxsize=_MOST_KEPT)(lambda place: _Seen(one(place)))
    seen_other = seen if one is other else lru_cache(maxsize=_MOST_KEPT)(lambda place: _Seen(other(place)))
    return lambda place, row: _are_alike(seen(place), seen_other(row), threshold)


class _Seen:
    """A text that is being compared."""

    __slots__ = ("windows", "words")

    def __init__(self, text: str) -> None:
        self.windows = windows(text)
        self.words = content_words(text)


def _are_alike(one: _Seen, other: _Seen, threshold: float) -> bool:
    # Sizes that differ too much settle it at once.
    sizes = len(one.windows), len(other.windows)
    if min(sizes) >= threshold * max(sizes) and similarity(one.windows, other.windows) >= threshold:
        return True
    return min(sizes) > 0 and same_words(one.words, other.words)


def groups_of(found: Columns) -> list[tuple[int, ...]]:
    """The groups of more than one row, each led by its first; in order of their leaders."""
    members: dict[int, list[int]] = {}
    for row in np.flatnonzero(found != np.arange(len(found))).tolist():
        members.setdefault(int(found[row]), [int(found[row])]).append(row)
    return [tuple(members[leader]) for leader in sorted(members)]


def _hashed_windows(texts: Sequence[str]) -> tuple[Columns, Columns]:
    """The windows of all texts as mixed 64-bit numbers, and where those of each text begin and end."""
    encoded = [plain(text).encode("utf-8", "surrogatepass") for text in texts]
    lengths = np.fromiter(map(len, encoded), dtype=np.int64, count=len(encoded))
    # Each text is followed by zeros, so that short ones have a window too; the surplus is cut off below.
    padding = b"\0" * WINDOW_BYTES
    letters = np.frombuffer(padding.join([*encoded, b""]), dtype=np.uint8).astype(np.uint64)
    ends = len(letters) - WINDOW_BYTES + 1
    packed = letters[:ends].copy()
    for at in range(1, WINDOW_BYTES):
        packed |= letters[at : ends + at] << np.uint64(8 * at)
    starts = np.concatenate([[0], np.cumsum(lengths + WINDOW_BYTES)[:-1]]) if len(encoded) else lengths
    counts = np.where(lengths > 0, np.maximum(lengths - WINDOW_BYTES + 1, 1), 0)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
    kept = np.repeat(starts - offsets[:-1].astype(np.int64), counts) + np.arange(counts.sum())
    with np.errstate(over="ignore"):
        mixed = (packed[kept] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> np.uint64(32)), offsets


def _count(bands: Bands, rows: Columns | None) -> int:
    return len(rows) if rows is not None else len(bands[0]) if len(bands) else 0


def _chosen(bands: Bands, rows: Columns | None) -> Iterator[Columns]:
    return (band if rows is None else band[rows] for band in bands)


class _Entries:
    """Which rows bear which keys, of those keys that more than one row bears."""

    def __init__(self) -> None:
        self._rows = [np.empty(0, dtype=np.int32)]
        self._keys = [np.empty(0, dtype=np.int32)]
        self._num_keys = 0

    def add(self, rows: Columns, keys: Columns, *, num_keys: int) -> None:
        """The rows of one band and the numbers of their keys, which are below `num_keys`."""
        self._rows.append(rows.astype(np.int32))
        self._keys.append((keys + self._num_keys).astype(np.int32))
        self._num_keys += num_keys

    def sizes(self) -> Columns:
        """How many rows bear each key."""
        return np.bincount(np.concatenate(self._keys), minlength=self._num_keys)

    def by_row(self) -> Iterator[tuple[int, list[int]]]:
        """Row by row, in order, the keys it bears."""
        rows, keys = np.concatenate(self._rows), np.concatenate(self._keys)
        order = np.argsort(rows, kind="stable")
        rows, keys = rows[order], keys[order]
        edges = np.flatnonzero(np.diff(rows, prepend=-1, append=-1)).tolist()
        for start, end in pairwise(edges):
            yield int(rows[start]), keys[start:end].tolist()


class _Buckets:
    """For each key the first rows that were added under it."""

    def __init__(self, sizes: Columns) -> None:
        ends = np.cumsum(np.minimum(sizes, _MOST_OF_A_KEY))
        self._starts = np.append(0, ends)
        self._filled = np.zeros(len(sizes), dtype=np.int32)
        self._rows = np.empty(self._starts[-1], dtype=np.int32)

    def add(self, row: int, keys: Iterable[int]) -> None:
        for key in keys:
            place = self._starts[key] + self._filled[key]
            if place < self._starts[key + 1]:
                self._rows[place] = row
                self._filled[key] += 1

    def candidates(self, keys: Iterable[int]) -> list[int]:
        """The rows that share most keys, the likeliest first."""
        votes: Counter[int] = Counter()
        for key in keys:
            start = self._starts[key]
            votes.update(self._rows[start : start + self._filled[key]].tolist())
        return [row for row, _ in votes.most_common(_MOST_COMPARED)]
