"""Plots of advice as inline SVG; colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import floor, log10
from typing import Final

from tailor.advise.forecast import Curve

_WIDTH: Final = 560
_LEFT: Final = 176
_RIGHT: Final = 54


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of a forest plot."""

    name: str
    value: float
    low: float
    high: float
    kind: str
    """Colour class: chosen, free or out."""


def forest(bars: Sequence[Bar], *, floor_at: float, label: str) -> str:
    """Values with their intervals, one below the other, on a scale from 0 to 1."""
    row, inner = 24, _WIDTH - _LEFT - _RIGHT
    height = row * len(bars) + 30
    drawn = [
        f'<line class="grid" x1="{_x(share):.1f}" x2="{_x(share):.1f}" y1="4" y2="{height - 26}"/>'
        f'<text x="{_x(share):.1f}" y="{height - 10}" text-anchor="middle">{share:.0%}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    drawn.append(
        f'<line class="median" x1="{_x(floor_at):.1f}" x2="{_x(floor_at):.1f}" y1="4" y2="{height - 26}">'
        f"<title>always the most usual answer: {floor_at:.1%}</title></line>"
    )
    for place, bar in enumerate(bars):
        y = row * place + 16
        drawn.append(
            f'<g class="{bar.kind}"><title>{escape(bar.name)}: {bar.value:.1%} '
            f"({100 * bar.low:.1f} to {100 * bar.high:.1f})</title>"
            f'<text class="label" x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">'
            f"{escape(_short(bar.name, 28))}</text>"
            f'<line class="span" x1="{_x(bar.low):.1f}" x2="{_x(bar.high):.1f}" y1="{y}" y2="{y}"/>'
            f'<circle cx="{_x(bar.value):.1f}" cy="{y}" r="4.5"/>'
            f'<text x="{_LEFT + inner + 10}" y="{y + 4}">{bar.value:.1%}</text></g>'
        )
    return _svg(height, "".join(drawn), label)


def learning(curves: Sequence[Curve], *, label: str) -> str:
    """Measured points, the fitted curve with its band up to twice the data, a colour for each curve."""
    height, base, top, left, right = 260, 222, 14, 44, 16
    most = 2.05 * max(point.size for curve in curves for point in curve.points)
    inner = _WIDTH - left - right

    def x(size: float) -> float:
        return left + inner * size / most

    def y(quality: float) -> float:
        return base - (base - top) * quality

    drawn = [
        f'<line class="grid" x1="{left}" x2="{_WIDTH - right}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>'
        f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    drawn += [
        f'<text x="{x(size):.1f}" y="{base + 16}" text-anchor="middle">{size:,}</text>'
        for size in _ticks(most)
    ]
    for curve in curves:
        if curve.fitted is not None:
            largest = curve.fitted.largest
            start = min(point.size for point in curve.points)
            sizes = [start + (2 * largest - start) * (step / 40) ** 2 for step in range(41)]
            at = [(size, curve.fitted.at(size)) for size in sizes]
            over = " ".join(f"{x(size):.1f},{y(found.high):.1f}" for size, found in at)
            under = " ".join(f"{x(size):.1f},{y(found.low):.1f}" for size, found in reversed(at))
            line = " ".join(f"{x(size):.1f},{y(found.value):.1f}" for size, found in at)
            drawn.append(
                f'<g class="curve {curve.of}"><polygon points="{over} {under}"/>'
                f'<polyline points="{line}"/></g>'
            )
        dots = "".join(
            f'<circle cx="{x(point.size):.1f}" cy="{y(point.quality):.1f}" r="4">'
            f"<title>{curve.of}, {point.size:,} examples: {point.quality:.1%}</title></circle>"
            for point in curve.points
        )
        drawn.append(f'<g class="curve {curve.of}">{dots}</g>')
    for place, curve in enumerate(curves):
        drawn.append(
            f'<g class="curve {curve.of}"><circle cx="{left + 8 + 110 * place}" cy="{base + 32}" r="4"/>'
            f'<text x="{left + 18 + 110 * place}" y="{base + 36}">{curve.of}</text></g>'
        )
    return _svg(height, "".join(drawn), label)


def trade(points: Sequence[tuple[str, float, float, str]], *, currency: str, label: str) -> str:
    """Quality over price, by powers of ten; of (name, price of 1,000 requests, quality, colour class)."""
    height, base, top, left, right = 260, 226, 14, 44, 24
    logs = [log10(max(price, 1e-9)) for _, price, _, _ in points]
    low, high = floor(min(logs)), floor(max(logs)) + 1

    def x(price: float) -> float:
        return left + (_WIDTH - left - right) * (log10(max(price, 1e-9)) - low) / max(high - low, 1)

    def y(quality: float) -> float:
        return base - (base - top) * quality

    drawn = [
        f'<line class="grid" x1="{left}" x2="{_WIDTH - right}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>'
        f'<text x="{left - 8}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        for share in (0, 0.25, 0.5, 0.75, 1)
    ]
    step = max(1, (high - low) // 5)
    drawn += [
        f'<text x="{x(10.0**power):.1f}" y="{base + 18}" text-anchor="middle">{_plain(10.0**power)}</text>'
        for power in range(low, high + 1, step)
    ]
    for name, price, quality, kind in points:
        drawn.append(
            f'<g class="{kind}"><circle cx="{x(price):.1f}" cy="{y(quality):.1f}" r="5.5">'
            f"<title>{escape(name)}: {quality:.1%}, {currency} {_plain(price)} for 1,000</title></circle>"
            + (_name(name, x(price), y(quality)) if kind == "chosen" else "")
            + "</g>"
        )
    return _svg(height, "".join(drawn), label)


def _name(name: str, x: float, y: float) -> str:
    """Below a dot, inside the plot."""
    half = 3.3 * len(name)
    at = min(max(x, half + 4), _WIDTH - half - 4)
    return f'<text class="label" x="{at:.1f}" y="{y + 20:.1f}" text-anchor="middle">{escape(name)}</text>'


def _x(share: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(share, 0), 1)


def _ticks(most: float) -> list[int]:
    step = 10 ** floor(log10(max(most, 1)))
    for times in (0.2, 0.25, 0.5, 1):
        if most / (step * times) <= 6:
            break
    size = max(int(step * times), 1)
    return list(range(0, int(most) + 1, size))


def _plain(value: float) -> str:
    return f"{value:.2g}" if value >= 0.001 else f"{value:.0e}".replace("e-0", "e-")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "\u2026"


def _svg(height: float, inside: str, label: str) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">{inside}</svg>'
