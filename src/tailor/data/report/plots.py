"""Plots as inline SVG: bars, histograms, a map. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

_WIDTH: Final = 560
_GROUP_COLOURS: Final = 12


def histogram(data: dict[str, Any], *, label: str, limit: int | None = None) -> str:
    """Counts in equal steps, with the median and, where it lies inside, a limit."""
    counts, step = list(data["counts"]), data["step"]
    height, left, base = 150, 8, 122
    inner = _WIDTH - 2 * left
    width = inner / max(len(counts), 1)
    top = max([*counts, 1])
    bars = "".join(
        f'<rect x="{left + at * width:.1f}" y="{base - count / top * (base - 14):.1f}" '
        f'width="{max(width - 1.5, 0.8):.1f}" height="{count / top * (base - 14):.1f}" rx="1.5">'
        f"<title>{_range(at, step, len(counts))} {label}: {count:,}</title></rect>"
        for at, count in enumerate(counts)
        if count
    )
    end = len(counts) * step
    if step == 1 and len(counts) <= 16:
        places = [((at + 0.5) / len(counts), str(at), "middle") for at in range(len(counts))]
    else:
        anchors = ("start", "middle", "middle", "middle", "end")
        places = [(at / 4, f"{at / 4 * end:,.0f}", anchor) for at, anchor in enumerate(anchors)]
    ticks = "".join(
        f'<text x="{left + share * inner:.0f}" y="{base + 16}" text-anchor="{anchor}">{words}</text>'
        for share, words, anchor in places
    )
    marks = _mark(
        (data["median"] + 0.5 * (step == 1)) / end, f"median {data['median']:,.0f}", left, base, "median"
    )
    if limit is not None and limit < end:
        marks += _mark(limit / end, f"context {limit:,}", left, base, "limit")
    axis = f'<line class="axis" x1="{left}" x2="{_WIDTH - left}" y1="{base}" y2="{base}"/>'
    return _svg(height, f'<g class="bars">{bars}</g>{axis}{ticks}{marks}', label)


def bars(pairs: Sequence[tuple[str, int]], *, label: str, most: int = 30) -> str:
    """Horizontal bars, the longest first; what is beyond `most` is summed up in one line."""
    shown = list(pairs[:most])
    row, left, right = 20, 168, 74
    top = max([count for _, count in shown] + [1])
    parts = []
    for at, (name, count) in enumerate(shown):
        y = at * row
        length = max((_WIDTH - left - right) * count / top, 1.5)
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(_short(name, 24))}'
            f"<title>{escape(name)}</title></text>"
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="14" rx="2">'
            f"<title>{escape(name)}: {count:,}</title></rect>"
            f'<text class="value" x="{left + length + 6:.1f}" y="{y + 14}">{count:,}</text>'
        )
    height = row * len(shown) + 6
    if len(pairs) > most:
        rest = pairs[most:]
        parts.append(
            f'<text class="value" x="{left}" y="{height + 12}">and {len(rest):,} more, '
            f"{min(count for _, count in rest):,} to {max(count for _, count in rest):,} each</text>"
        )
        height += 22
    return _svg(height, f'<g class="bars">{"".join(parts)}</g>', label)


def stack(parts: Sequence[tuple[str, int, str]], *, label: str) -> str:
    """One bar cut into (name, count, colour class) parts, with a legend."""
    total = max(sum(count for _, count, _ in parts), 1)
    x, drawn, legend, place = 0.0, [], [], 0
    for name, count, colour in parts:
        width = _WIDTH * count / total
        if count:
            drawn.append(
                f'<rect class="{colour}" x="{x:.1f}" y="4" width="{max(width - 1, 1):.1f}" height="26" '
                f'rx="3">'
                f"<title>{escape(name)}: {count:,}</title></rect>"
            )
        legend.append(
            f'<rect class="{colour}" x="{place}" y="44" width="10" height="10" rx="2"/>'
            f'<text x="{place + 16}" y="53">{escape(name)} {count:,} ({count / total:.1%})</text>'
        )
        place += 190
        x += width
    return _svg(62, "".join(drawn + legend), label)


def scatter(data: dict[str, Any], *, label: str) -> str:
    """Points by group; each group's name stands at its middle."""
    height, margin = 400, 20
    groups = data["groups"]
    spots = [
        (margin + x * (_WIDTH - 2 * margin), margin + y * (height - 2 * margin), group, line)
        for x, y, group, line in data["points"]
    ]
    points = "".join(
        f'<a href="#L{line}"><circle class="g{group % _GROUP_COLOURS}" cx="{x:.0f}" cy="{y:.0f}" r="2.8">'
        f"<title>line {line}: {escape(groups[group][0])}</title></circle></a>"
        for x, y, group, line in spots
    )
    names: list[str] = []
    taken: list[tuple[float, float, float]] = []
    for group in sorted(range(len(groups)), key=lambda group: -groups[group][1]):
        mine = [(x, y) for x, y, of, _ in spots if of == group]
        if not mine:
            continue
        name = _short(groups[group][0], 26)
        half = 3.3 * len(name)
        x = min(max(sum(x for x, _ in mine) / len(mine), half + 4), _WIDTH - half - 4)
        y = max(min(y for _, y in mine) - 5, 11)
        # A name that would cover another is left out; the points say it when pointed at.
        if all(abs(y - other_y) > 15 or abs(x - other_x) > half + other for other_x, other_y, other in taken):
            taken.append((x, y, half))
            names.append(
                f'<text class="name" x="{x:.0f}" y="{y:.0f}" text-anchor="middle">{escape(name)}</text>'
            )
    return _svg(height, points + "".join(names), label)


def _mark(share: float, words: str, left: int, base: int, kind: str) -> str:
    x = left + min(max(share, 0), 1) * (_WIDTH - 2 * left)
    anchor, at = ("end", x - 5) if share > 0.7 else ("start", x + 5)
    return (
        f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{base}"/>'
        f'<text class="{kind}" x="{at:.1f}" y="12" text-anchor="{anchor}">{escape(words)}</text>'
    )


def _range(at: int, step: int, bins: int) -> str:
    return f"{at * step:,} or more" if at == bins - 1 else f"{at * step:,} to {(at + 1) * step - 1:,}"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _svg(height: float, inside: str, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">{inside}</svg>'
