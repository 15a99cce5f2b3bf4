"""What more data would bring: a learning curve through a few measured points, and how far to trust it.

Three to five points cannot settle a curve, so none is settled on. Thousands of curves are drawn that could
have given these points, of three families that all rise from a start to a ceiling and never leave [0, 1] (a
Bayesian average). What is said about a size is what they say there, from the 2.5th to the 97.5th percentile.
Where the points say little, the curves differ, and the interval is wide. docs/statistics.md has what is
assumed before any point is seen, and how often the intervals hold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from math import asin, hypot, log, sqrt
from typing import TYPE_CHECKING, Final

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]
    Places = NDArray[np.int64]

_FEWEST_SIZES: Final = 3
_FAMILIES: Final = 3

_FIRST: Final = 100_000
"""Curves drawn before the points are looked at."""

_CURVES: Final = 2_000
"""Of these, chosen by how well they explain the points, and moved about among the likely ones."""

_MOVES: Final = 20

_SHARED: Final = 0.5
"""Of the variance that few held-out items bring, what all sizes share, being asked the same items."""

TOO_WIDE: Final = 0.1
"""An interval of a gain wider than 10 points tells nobody whether to collect more data."""

_SURELY: Final = 0.03
"""A gain of at least 3 points is worth saying, however uncertain the rest."""

TOO_FAR: Final = 10
"""Times the largest size measured; beyond it nothing is said."""

_FALLS: Final = 3.0
"""Standard errors by which quality may fall from a size to a larger one before the curves are disbelieved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """Quality after training on so many examples."""

    size: int
    """Examples trained on; 0 is the base as it is."""

    quality: float
    """Share right, or a mean score from 0 to 1, on the held-out items."""

    items: int
    """How many held-out items that is a mean of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Quality at a size, or a gain in it."""

    value: float
    """The middle."""

    low: float
    """The truth is below it in 2.5 of 100 cases."""

    high: float
    """The truth is above it in 2.5 of 100 cases."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LearningCurve:
    """Curves that could have given the points, all equally likely."""

    points: tuple[Point, ...]
    """As measured, by size."""

    _curves: _Curves = field(repr=False)

    @property
    def largest(self) -> int:
        """The largest size measured."""
        return self.points[-1].size

    @property
    def fall(self) -> tuple[Point, Point] | None:
        """Two sizes between which quality falls by more than chance explains, if any: no such curve does."""
        pairs = list(combinations(self.points, 2))
        depths = [
            (_angle(less) - _angle(more)) / hypot(_deviation(less), _deviation(more)) for less, more in pairs
        ]
        deepest = max(range(len(pairs)), key=depths.__getitem__)
        return pairs[deepest] if depths[deepest] > _FALLS else None

    def at(self, size: float, *, items: int | None = None) -> Forecast:
        """Quality at a size: the true one, or as one more run would show it on so many of the same items.

        Raises:
            InvalidRequest: A negative size, or no items.
        """
        if size < 0 or (items is not None and items < 1):
            raise InvalidRequest("A size is not negative, and quality is measured on at least one item.")
        import numpy as np

        curves = self._curves
        quality = curves.quality(size)
        if items is not None:
            random = np.random.default_rng(1)
            fresh = np.sqrt(curves.noise**2 + (1 - _SHARED) / (4 * items)) * random.normal(size=_CURVES)
            angles = np.arcsin(np.sqrt(quality)) + curves.luck * sqrt(_SHARED / (4 * items)) + fresh
            quality = np.sin(np.clip(angles, 0, np.pi / 2)) ** 2
        return _forecast(quality)

    def gain(self, size: float, *, over: float | None = None) -> Forecast:
        """How much better training on so many examples is than on `over` (default: the largest size)."""
        start = self.largest if over is None else over
        return _forecast(self._curves.quality(size) - self._curves.quality(start))

    def sentence(self, times: float = 2) -> str:
        """For people: what so many times the data would bring, or that nobody can tell."""
        what = f"{times:g}x the data"
        if self.fall is not None:
            less, more = self.fall
            return (
                f"{what}: cannot tell. Quality fell from {less.quality:.1%} with {less.size:,} examples to "
                f"{more.quality:.1%} with {more.size:,}, more than chance explains: look at the training."
            )
        if times > TOO_FAR:
            return f"{what}: cannot tell, so far beyond {self.largest:,} examples."
        gain = self.gain(times * self.largest)
        low, value, high = (round(100 * part) for part in (gain.low, gain.value, gain.high))
        if gain.high - gain.low > TOO_WIDE:
            if gain.low >= _SURELY:
                return f"{what}: at least {low:+d} points; how many more, up to {high:+d}, cannot be told"
            return f"{what}: cannot tell, anything from {low:+d} to {high:+d} points fits what was measured."
        points = "point" if value == 1 else "points"
        return f"{what}: {value:+d} {points} ({low} to {high})"


def learning_curve(points: Sequence[Point], *, seed: int = 0) -> LearningCurve:
    """The curves that could have given points at nested sizes; several runs at a size are several points.

    Raises:
        InvalidRequest: Fewer than three sizes, or a point that is none.
    """
    for point in points:
        if point.size < 0 or not 0 <= point.quality <= 1 or point.items < 1:
            raise InvalidRequest(f"{point} is no point: sizes are not negative, quality is from 0 to 1.")
    measured = tuple(sorted(points, key=lambda point: point.size))
    sizes = {point.size for point in measured}
    if len(sizes) < _FEWEST_SIZES:
        raise InvalidRequest(
            f"A learning curve needs at least {_FEWEST_SIZES} sizes; there are {len(sizes)}.",
            remedy="Train on an eighth, a quarter and a half of the data too.",
        )
    import numpy as np

    random = np.random.default_rng(seed)
    bounds = log(min(sizes - {0}) / 20), log(max(sizes) * 10)
    normals = random.normal(size=(_FIRST, 6))
    family = random.integers(0, _FAMILIES, _FIRST)
    fit = _loglikelihood(measured, normals, family, bounds)
    share = np.cumsum(np.exp(fit - fit.max()))
    chosen = np.searchsorted(share, (np.arange(_CURVES) + random.uniform()) / _CURVES * share[-1])
    normals, family = normals[chosen], family[chosen]
    for _ in range(_MOVES):
        normals = _moved(random, normals, lambda rows, at: _loglikelihood(measured, rows, family[at], bounds))
    return LearningCurve(points=measured, _curves=_Curves.of(normals, family, bounds))


def _moved(random: np.random.Generator, rows: Values, fit: Callable[[Values, Places], Values]) -> Values:
    """Each row, moved to one as likely under a normal prior and the fit: elliptical slice sampling.

    I. Murray, R. P. Adams and D. J. C. MacKay, AISTATS 2010.
    """
    import numpy as np

    rows, count = rows.copy(), len(rows)
    left = np.arange(count)
    start, aside = rows.copy(), random.normal(size=rows.shape)
    level = fit(rows, left) + np.log(random.uniform(size=count))
    angle = random.uniform(0, 2 * np.pi, count)
    low, high = angle - 2 * np.pi, angle.copy()
    while len(left):
        turn = angle[left, None]
        tried = start[left] * np.cos(turn) + aside[left] * np.sin(turn)
        done = (fit(tried, left) > level[left]) | (high[left] - low[left] < 1e-9)
        rows[left[done]] = tried[done]
        left = left[~done]
        below = angle[left] < 0
        low[left[below]], high[left[~below]] = angle[left[below]], angle[left[~below]]
        angle[left] = random.uniform(low[left], high[left])
    return rows


def _loglikelihood(
    points: Sequence[Point], normals: Values, family: Places, bounds: tuple[float, float]
) -> Values:
    import numpy as np

    curves = _Curves.of(normals, family, bounds)
    total = np.zeros(len(normals))
    for point in points:
        chance = _deviation(point)
        variance = curves.noise**2 + (1 - _SHARED) * chance**2
        expected = np.arcsin(np.sqrt(curves.quality(point.size))) + curves.luck * sqrt(_SHARED) * chance
        total -= ((_angle(point) - expected) ** 2 / variance + np.log(variance)) / 2
    return total


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Curves:
    """Many curves, one per row."""

    start: Values
    ceiling: Values
    bend: Values
    exponent: Values
    noise: Values
    luck: Values
    family: Places

    @classmethod
    def of(cls, normals: Values, family: Places, bounds: tuple[float, float]) -> _Curves:
        """From standard normal numbers: that makes them as likely as they are before any point is seen."""
        import numpy as np
        from scipy.special import ndtr

        start, ceiling, bend = ndtr(normals[:, :3]).T
        start = start**2
        return cls(
            start=start,
            ceiling=1 - (1 - start) * (1 - (1 - ceiling) ** (2 / 3)) ** 2,
            bend=np.exp(bounds[0] + (bounds[1] - bounds[0]) * bend),
            exponent=np.exp(log(0.7) + 0.6 * normals[:, 3]),
            noise=np.exp(log(0.02) + 0.7 * normals[:, 4]),
            luck=normals[:, 5],
            family=family,
        )

    def quality(self, size: float) -> Values:
        """Quality at a size. What is left to learn falls by a power law, by Hill's curve or exponentially."""
        import numpy as np

        relative = size / self.bend
        power_law = (1 + relative) ** -self.exponent
        hill = 1 / (1 + relative ** (2 * self.exponent))
        exponential = np.exp(-np.minimum(relative**self.exponent, 700))
        left = np.choose(self.family, [power_law, hill, exponential])
        quality: Values = np.clip(self.ceiling - (self.ceiling - self.start) * left, 0, 1)
        return quality


def _forecast(values: Values) -> Forecast:
    import numpy as np

    low, value, high = (float(part) for part in np.quantile(values, [0.025, 0.5, 0.975]))
    return Forecast(value=value, low=low, high=high)


def _angle(point: Point) -> float:
    """Shares as angles: the noise of few items is alike everywhere (Anscombe, Biometrika 35, 1948, 246)."""
    return asin(sqrt((point.quality * point.items + 0.375) / (point.items + 0.75)))


def _deviation(point: Point) -> float:
    return 1 / sqrt(4 * point.items + 2)
