"""How sure we may be: intervals and paired tests on the same items, before and after.

scipy and numpy are imported where they are used: the command line starts without them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, comb, floor, isfinite, sqrt
from statistics import NormalDist
from typing import Final

from tailor.errors import InvalidRequest
from tailor.grading.corrections import holm
from tailor.grading.resampling import bootstrap_mean, sign_flip

CONFIDENCE: Final = 0.95
"""Of every interval, unless another is asked for."""


Scores = Sequence[float] | Sequence[bool]
"""One score per item: pass or fail, or any finite number."""


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
    """Probability of a difference at least as great, either way, if there is none; see `method`."""

    items: int
    """Number of pairs."""

    method: str
    """Which interval and which test, in words for a report."""


def wilson(passed: int, total: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for a proportion (E. B. Wilson, JASA 22, 1927, 209-212).

    Raises:
        InvalidRequest: unless 0 <= passed <= total and total is at least 1.
    """
    if not 0 <= passed <= total or total < 1:
        raise InvalidRequest(f"{passed} of {total} is not a proportion")
    z = normal_quantile(confidence)
    share, square = passed / total, z * z / total
    middle = (share + square / 2) / (1 + square)
    reach = z * sqrt(share * (1 - share) / total + square / (4 * total)) / (1 + square)
    low = 0.0 if passed == 0 else middle - reach
    high = 1.0 if passed == total else middle + reach
    return Interval(low=low, high=high)


def mcnemar(fixed: int, broken: int, *, mid: bool = False) -> float:
    """McNemar's exact two-sided p: of the items that changed, do as many get worse as better?

    Only the items on which before and after disagree say anything; under the null hypothesis each of
    them is fixed or broken with equal chance (Q. McNemar, Psychometrika 12, 1947, 153-157). `mid` counts
    what was seen by half: smaller, and no longer certain to claim too much in at most 5 of 100 cases (M. W.
    Fagerland et al., BMC Medical Research Methodology 13:91, 2013). docs/statistics.md says why it is not
    what tailor's own verdicts go by.
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
    whole = min(1.0, tail / (1 << changed - 1))
    if not mid:
        return whole
    return 1.0 if fixed == broken else whole - comb(changed, fixed) / (1 << changed)


def paired_difference(
    before: Scores, after: Scores, *, confidence: float = CONFIDENCE, seed: int = 0
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
    if are_passes(before, after):
        return _difference_of_proportions(before, after, confidence)
    return _difference_of_means(before, after, confidence, seed)


def paired_differences(
    before: Scores, arms: Mapping[str, Scores], *, confidence: float = CONFIDENCE, seed: int = 0
) -> dict[str, Difference]:
    """Several arms against one baseline, on the same items: a false claim in one of 20 such contests at most.

    p-values after Holm's correction; intervals widened so that all of them hold at once (Bonferroni). Both
    cover however many arms there are, so the best of ten is not called better for being the best of ten.
    """
    each = 1 - (1 - confidence) / max(len(arms), 1)
    found = {
        name: paired_difference(before, after, confidence=each, seed=seed) for name, after in arms.items()
    }
    if len(found) < 2:
        return found
    adjusted = holm([difference.p for difference in found.values()])
    return {
        name: replace(difference, p=p, method=f"{difference.method}; corrected for {len(found)} comparisons")
        for (name, difference), p in zip(found.items(), adjusted, strict=True)
    }


def are_passes(before: Scores, after: Scores) -> bool:
    """Whether scores are pass or fail and nothing between."""
    return {*before, *after} <= {0, 1}


def newcombe_paired(
    both: int, fixed: int, broken: int, neither: int, *, confidence: float = CONFIDENCE
) -> Interval:
    """Interval for P(after) - P(before) from counts of the four outcomes of a pair.

    Wilson intervals of the two proportions, combined with the correlation of the pairs: method 10 of
    R. G. Newcombe, Statistics in Medicine 17, 1998, 2635-2650.
    """
    total = both + fixed + broken + neither
    passed_after, passed_before = both + fixed, both + broken
    after, before = passed_after / total, passed_before / total
    around_after = wilson(passed_after, total, confidence=confidence)
    around_before = wilson(passed_before, total, confidence=confidence)
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


def normal_quantile(confidence: float) -> float:
    """The normal quantile of a two-sided interval: 1.96 for 0.95.

    Raises:
        InvalidRequest: Unless 0 < confidence < 1.
    """
    if not 0 < confidence < 1:
        raise InvalidRequest(f"A confidence lies between 0 and 1, not at {confidence}.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _difference_of_proportions(before: Scores, after: Scores, confidence: float) -> Difference:
    pairs = list(zip(before, after, strict=True))
    both, fixed = pairs.count((1, 1)), pairs.count((0, 1))
    broken, neither = pairs.count((1, 0)), pairs.count((0, 0))
    interval = newcombe_paired(both, fixed, broken, neither, confidence=confidence)
    return Difference(
        mean=(fixed - broken) / len(pairs),
        low=interval.low,
        high=interval.high,
        p=mcnemar(fixed, broken),
        items=len(pairs),
        method="Newcombe's paired score interval, exact McNemar test",
    )


def _difference_of_means(before: Scores, after: Scores, confidence: float, seed: int) -> Difference:
    import numpy as np

    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    low, high = bootstrap_mean(differences, confidence=confidence, seed=seed)
    return Difference(
        mean=float(differences.mean()),
        low=low,
        high=high,
        p=sign_flip(differences, seed=seed),
        items=len(differences),
        method="BCa bootstrap interval, sign-flip permutation test",
    )
