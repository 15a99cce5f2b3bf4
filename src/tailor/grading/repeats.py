"""Training noise: is the recipe better, or was it this one run?"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from tailor.errors import InvalidRequest
from tailor.grading.statistics import CONFIDENCE, Difference, Scores, are_passes


def repeated_difference(
    before: Scores, runs: Sequence[Scores], *, confidence: float = CONFIDENCE
) -> Difference:
    """By how much a recipe differs from a baseline, over several runs with other seeds on the same items.

    `paired_difference` speaks of one trained version, and its items are all the noise there is. What a recipe
    gains varies by run too: items and runs are both samples here, crossed, with mean squares as in a two-way
    analysis of variance and degrees of freedom after Satterthwaite (Biometrics Bulletin 2, 1946, 110-114).
    Few runs that differ much give an honest, wide interval.

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
    mean, of_runs, of_items = table.mean(), table.mean(axis=1), table.mean(axis=0)
    rest = table - of_runs[:, None] - of_items + mean
    squares = (
        (float(count * ((of_items - mean) ** 2).sum() / (items - 1)), items - 1),
        (float(items * ((of_runs - mean) ** 2).sum() / (count - 1)), count - 1),
        (-float((rest**2).sum() / ((items - 1) * (count - 1))), (items - 1) * (count - 1)),
    )
    variance = max(sum(square for square, _ in squares), squares[0][0], squares[1][0]) / table.size
    method = f"t interval and test over {items} items and {count} runs"
    if variance == 0:
        p = 1.0 if mean == 0 else 0.0
        return Difference(
            mean=float(mean), low=float(mean), high=float(mean), p=p, items=items, method=method
        )
    freedom = (variance * table.size) ** 2 / sum(square**2 / degrees for square, degrees in squares)
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * sqrt(variance)
    least = -1.0 if all(are_passes(before, run) for run in runs) else -np.inf
    return Difference(
        mean=float(mean),
        low=max(float(mean) - reach, least),
        high=min(float(mean) + reach, -least),
        p=float(2 * stdtr(freedom, -abs(mean) / sqrt(variance))),
        items=items,
        method=method,
    )
