"""Training noise: is the recipe better, or was it this one run?"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from tailor.errors import InvalidRequest
from tailor.grading.statistics import CONFIDENCE, Difference, Scores, are_passes, paired_difference


def repeated_difference(
    before: Scores, runs: Sequence[Scores], *, confidence: float = CONFIDENCE
) -> Difference:
    """By how much a recipe differs from a baseline, over several runs with other seeds on the same items.

    `paired_difference` speaks of one trained version, and its items are all the noise there is. What a recipe
    gains varies by run too: items and runs are both samples here. The variances of the item means and of the
    run means are added, which counts what is left over twice: a little too careful, as the two-way bootstrap
    is (A. B. Owen, Annals of Applied Statistics 1, 2007, 386-411); taking it off again, as in an analysis of
    variance, claimed too much with three runs. Degrees of freedom after Satterthwaite (Biometrics Bulletin 2,
    1946, 110-114). Few runs that differ much give an honest, wide interval.

    Raises:
        InvalidRequest: Fewer than two runs or items, or runs over other items.
    """
    if len(runs) < 2 or len(before) < 2 or any(len(run) != len(before) for run in runs):
        raise InvalidRequest(
            "Training noise needs at least two runs over the same items, two items at least.",
            remedy="Train again with another seed.",
        )
    import numpy as np
    from scipy.special import stdtr, stdtrit

    table = np.asarray(runs, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    count, items = table.shape
    mean = float(table.mean())
    by_item = float(table.mean(axis=0).var(ddof=1) / items)
    by_run = float(table.mean(axis=1).var(ddof=1) / count)
    variance = by_item + by_run
    if variance == 0:  # nothing varies: any run stands for all
        return paired_difference(before, runs[0], confidence=confidence)
    freedom = variance**2 / (by_item**2 / (items - 1) + by_run**2 / (count - 1))
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * sqrt(variance)
    least = -1.0 if all(are_passes(before, run) for run in runs) else -np.inf
    return Difference(
        mean=mean,
        low=max(mean - reach, least),
        high=min(mean + reach, -least),
        p=float(2 * stdtr(freedom, -abs(mean) / sqrt(variance))),
        items=items,
        method=f"t interval and test over {items} items and {count} runs",
    )
