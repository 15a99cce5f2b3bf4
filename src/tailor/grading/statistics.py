"""How sure we may be: intervals and paired tests on the same items, before and after.

scipy and numpy are imported where they are used: the command line starts without them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, sqrt
from typing import TYPE_CHECKING, Final

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
"""Of every interval in this module."""

_Z: Final = 1.959963984540054
"""The normal quantile that belongs to it."""

_RESAMPLES: Final = 9_999
_MAX_CELLS: Final = 4_000_000
_MAX_EXACT_ITEMS: Final = 16
"""Up to here all 2**n sign flips are tried instead of drawing some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A range that holds the true value in 95 of 100 repetitions."""

    low: float
    """Lower end."""

    high: float
    """Upper end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """By how much two measurements of the same items differ."""

    mean: float
    """Mean of after minus before: above zero where after is greater."""

    low: float
    """Lower end of the 95 % interval."""

    high: float
    """Upper end of the 95 % interval."""

    p: float
    """Probability of a difference at least as great, either way, if there is none."""

    items: int
    """Number of pairs."""

    method: str
    """Which interval and which test, in words for a report."""


def wilson(passed: int, total: int) -> Interval:
    """Wilson's score interval for a proportion (E. B. Wilson, JASA 22, 1927, 209-212).

    Raises:
        InvalidRequest: unless 0 <= passed <= total and total is at least 1.
    """
    if not 0 <= passed <= total or total < 1:
        raise InvalidRequest(f"{passed} of {total} is not a proportion")
    share, square = passed / total, _Z * _Z / total
    middle = (share + square / 2) / (1 + square)
    reach = _Z * sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    low = 0.0 if passed == 0 else middle - reach
    high = 1.0 if passed == total else middle + reach
    return Interval(low=low, high=high)


def mcnemar(fixed: int, broken: int) -> float:
    """McNemar's exact two-sided p: of the items that changed, do as many get worse as better?

    Only the items on which before and after disagree say anything; under the null hypothesis each of
    them is fixed or broken with equal chance (Q. McNemar, Psychometrika 12, 1947, 153-157).
    """
    if fixed < 0 or broken < 0:
        raise InvalidRequest("counts cannot be negative")
    if fixed + broken == 0:
        return 1.0
    changed = fixed + broken
    # Both tails of a fair coin are equal; scipy.stats would say the same after a second of importing.
    ways = tail = 1
    for count in range(min(fixed, broken)):
        ways = ways * (changed - count) // (count + 1)
        tail += ways
    return min(1.0, tail / (1 << changed - 1))


def paired_difference(
    before: Sequence[float] | Sequence[bool], after: Sequence[float] | Sequence[bool], *, seed: int = 0
) -> Difference:
    """Compare two measurements of the same items, given in the same order.

    Pass or fail (0 and 1, or booleans): exact McNemar test, and the score interval for a difference of
    paired proportions. Anything else, such as losses: a sign-flip permutation test, exact up to 16 items,
    and a BCa bootstrap interval of the mean difference. The same input and seed give the same figures.

    Raises:
        InvalidRequest: if there are no items, or not as many before as after, or a value is not finite.
    """
    if len(before) != len(after):
        raise InvalidRequest(f"{len(before)} values before and {len(after)} after are not pairs")
    if not before:
        raise InvalidRequest("there are no items to compare")
    if not all(map(isfinite, before)) or not all(map(isfinite, after)):
        raise InvalidRequest("a value that is not finite cannot be compared")
    if {*before, *after} <= {0, 1}:
        return _difference_of_proportions(before, after)
    return _difference_of_means(before, after, seed)


def newcombe_paired(both: int, fixed: int, broken: int, neither: int) -> Interval:
    """Interval for P(after) - P(before) from counts of the four outcomes of a pair.

    Wilson intervals of the two proportions, combined with the correlation of the pairs: method 10 of
    R. G. Newcombe, Statistics in Medicine 17, 1998, 2635-2650.
    """
    total = both + fixed + broken + neither
    passed_after, passed_before = both + fixed, both + broken
    after, before = passed_after / total, passed_before / total
    around_after, around_before = wilson(passed_after, total), wilson(passed_before, total)
    margins = passed_after * (total - passed_after) * passed_before * (total - passed_before)
    covariance = both * neither - fixed * broken
    cross = max(covariance - total / 2, 0.0) if covariance > 0 else float(covariance)
    phi = cross / sqrt(margins) if margins else 0.0

    def reach(one: float, other: float) -> float:
        return sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))

    difference = after - before
    return Interval(
        low=max(difference - reach(after - around_after.low, around_before.high - before), -1.0),
        high=min(difference + reach(around_after.high - after, before - around_before.low), 1.0),
    )


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of 100 lie, with a straight line between neighbours.

    Raises:
        InvalidRequest: if there are no values, or percent is outside 0 to 100.
    """
    if not values or not 0 <= percent <= 100:
        raise InvalidRequest("a percentile needs values, and a percentage from 0 to 100")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    below, above = ordered[floor(place)], ordered[ceil(place)]
    return below + (above - below) * (place - floor(place))


def _difference_of_proportions(
    before: Sequence[float] | Sequence[bool], after: Sequence[float] | Sequence[bool]
) -> Difference:
    pairs = list(zip(before, after, strict=True))
    both, fixed = pairs.count((1, 1)), pairs.count((0, 1))
    broken, neither = pairs.count((1, 0)), pairs.count((0, 0))
    interval = newcombe_paired(both, fixed, broken, neither)
    return Difference(
        mean=(fixed - broken) / len(pairs),
        low=interval.low,
        high=interval.high,
        p=mcnemar(fixed, broken),
        items=len(pairs),
        method="Newcombe's paired score interval, exact McNemar test",
    )


def _difference_of_means(
    before: Sequence[float] | Sequence[bool], after: Sequence[float] | Sequence[bool], seed: int
) -> Difference:
    import numpy as np

    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    interval = _bca(differences, np.random.default_rng(seed))
    return Difference(
        mean=float(differences.mean()),
        low=interval.low,
        high=interval.high,
        p=_sign_flip(differences, np.random.default_rng([seed, 1])),
        items=len(differences),
        method="BCa bootstrap interval, sign-flip permutation test",
    )


def _sign_flip(differences: NDArray[np.float64], random: np.random.Generator) -> float:
    """Two-sided p of the mean difference when the sign of each is a coin toss (Fisher 1935, section 21)."""
    import numpy as np

    count = len(differences)
    # A little slack counts ties as ties although sums in another order differ in the last bit.
    observed = abs(differences.sum()) * (1 - 1e-12)
    if count <= _MAX_EXACT_ITEMS:
        every = 1.0 - 2.0 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)
        return float((abs(every @ differences) >= observed).mean())
    extreme = 0
    for rows in _batches(count):
        signs = 1.0 - 2.0 * random.integers(0, 2, size=(rows, count), dtype=np.int8)
        extreme += int((abs(signs @ differences) >= observed).sum())
    return (extreme + 1) / (_RESAMPLES + 1)


def _bca(differences: NDArray[np.float64], random: np.random.Generator) -> Interval:
    """Bias-corrected and accelerated bootstrap of the mean (B. Efron, JASA 82, 1987, 171-185)."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    count, mean = len(differences), differences.mean()
    if count < 2 or np.ptp(differences) == 0:
        return Interval(low=float(mean), high=float(mean))
    means = np.concatenate(
        [differences[random.integers(0, count, size=(rows, count))].mean(axis=1) for rows in _batches(count)]
    )
    share_below = ((means < mean).sum() + (means == mean).sum() / 2) / len(means)
    bias = ndtri(np.clip(share_below, 1 / len(means), 1 - 1 / len(means)))
    # The jackknife means of a mean deviate in proportion to the values themselves.
    deviations = differences - mean
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    levels = [bias + quantile for quantile in (-_Z, _Z)]
    shares = [float(ndtr(bias + level / (1 - acceleration * level))) for level in levels]
    low, high = np.quantile(means, shares)
    return Interval(low=float(low), high=float(high))


def _batches(columns: int) -> list[int]:
    """How many resamples to draw at once, so that memory stays bounded."""
    rows = max(1, min(_RESAMPLES, _MAX_CELLS // columns))
    full, rest = divmod(_RESAMPLES, rows)
    return [rows] * full + [rest] * (rest > 0)
