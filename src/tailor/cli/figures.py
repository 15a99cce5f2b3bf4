"""Figures as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

_BARS = "▁▂▃▄▅▆▇█"
_DIRECTIONS = frozenset(map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A))))


def percent(share: float) -> str:
    """`0.934` as `93.4 %`."""
    return f"{share * 100:.1f} %"


def p_value(value: float) -> str:
    """`p < 0.001`, or the value with three decimals."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def duration(seconds: float) -> str:
    """`7 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(num_bytes: float) -> str:
    """`512 KiB`, `1.4 GiB`."""
    for unit in ("B", "KiB", "MiB"):
        if num_bytes < 1024:
            return f"{num_bytes:.0f} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.1f} GiB"


def count(number: int, noun: str) -> str:
    """`1 example`, `12 examples`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def sparkline(values: Sequence[float], *, width: int = 30) -> str:
    """The course of `values` in at most `width` little bars; each stands for an equal share of them."""
    if not values:
        return ""
    bars = min(width, len(values))
    edges = [round(index * len(values) / bars) for index in range(bars + 1)]
    means = [sum(values[start:end]) / (end - start) for start, end in pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def shortened(text: str, *, most: int) -> str:
    """`text` on one line, cut with an ellipsis past `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def printable(text: str) -> str:
    """`text` without what steers a terminal: what a model or a server says is only text.

    Control characters, lone surrogates and overrides of the writing direction become U+FFFD.
    """
    return "".join("\ufffd" if _steers(letter) else letter for letter in text)


def _steers(letter: str) -> bool:
    if letter in "\n\t":
        return False
    return letter in _DIRECTIONS or unicodedata.category(letter) in ("Cc", "Cs")
