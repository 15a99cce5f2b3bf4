"""What other samples would have said: the bootstrap of any metric, and sign flips of paired differences.

numpy and scipy are imported where they are used: the command line starts without them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

RESAMPLES: Final = 9_999
_MAX_CELLS: Final = 4_000_000
_MAX_EXACT_ITEMS: Final = 16
"""Up to here all 2**n sign flips are tried instead of drawing some."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A figure with its interval."""

    value: float
    """On the items as they are."""

    low: float
    """Lower end."""

    high: float
    """Upper end."""


def bootstrap(
    statistic: Callable[..., float],
    *columns: Sequence[Any],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """BCa interval of any metric of items: F1 of (expected, answered), or what one model gains over another.

    Each column has one value per item; items are drawn with replacement, whole: all columns of an item stay
    together, so that a `statistic` which compares two models on the same items keeps their pairing. It gets
    NumPy arrays, one per column. The same input and seed give the same interval.

    B. Efron, JASA 82, 1987, 171-185.

    Raises:
        InvalidRequest: No items, columns of unequal length, or the metric is undefined on a resample.
    """
    import numpy as np

    lengths = {len(column) for column in columns}
    if len(lengths) != 1 or 0 in lengths:
        raise InvalidRequest("A bootstrap needs items, and a value in every column for each of them.")
    arrays = [np.asarray(column) for column in columns]
    [count] = lengths
    random = np.random.default_rng(seed)

    def at(places: NDArray[np.int64]) -> float:
        value = float(statistic(*(array[places] for array in arrays)))
        if not isfinite(value):
            raise InvalidRequest(
                "The metric is undefined on a resample of the items.",
                remedy="Say what it is worth there, such as F1 = 0 where nothing is found.",
            )
        return value

    every = np.arange(count)
    value = at(every)
    drawn = np.array([at(random.integers(0, count, size=count)) for _ in range(resamples)])
    left_out = np.array([at(np.delete(every, place)) for place in every]) if count > 1 else np.array([value])
    low, high = bca(value, drawn, left_out.mean() - left_out, confidence)
    return Estimate(value=value, low=low, high=high)


def bootstrap_mean(values: Values, *, confidence: float, seed: int) -> tuple[float, float]:
    """`bootstrap` of the mean, all resamples at once."""
    import numpy as np

    count, random = len(values), np.random.default_rng(seed)
    drawn = np.concatenate(
        [values[random.integers(0, count, size=(rows, count))].mean(axis=1) for rows in _batches(count)]
    )
    # The jackknife means of a mean deviate in proportion to the values themselves.
    return bca(float(values.mean()), drawn, values - values.mean(), confidence)


def bca(value: float, drawn: Values, influence: Values, confidence: float) -> tuple[float, float]:
    """Ends of the bias-corrected, accelerated interval, from resampled values and each item's influence."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    spread = float((influence**2).sum())
    if np.ptp(drawn) == 0 or spread == 0:
        return float(drawn.min()), float(drawn.max())
    share_below = ((drawn < value).sum() + (drawn == value).sum() / 2) / len(drawn)
    bias = ndtri(np.clip(share_below, 1 / len(drawn), 1 - 1 / len(drawn)))
    acceleration = (influence**3).sum() / (6 * spread**1.5)
    levels = [bias + ndtri(tail) for tail in ((1 - confidence) / 2, (1 + confidence) / 2)]
    shares = [float(ndtr(bias + level / (1 - acceleration * level))) for level in levels]
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)


def sign_flip(differences: Values, *, seed: int, one_sided: bool = False) -> float:
    """P of a mean as far from zero when the sign of each difference is a coin toss (Fisher 1935, section 21).

    Two-sided; one-sided: of a mean as high.
    """
    import numpy as np

    count, random = len(differences), np.random.default_rng([seed, 1])
    total = differences.sum() if one_sided else abs(differences.sum())
    # A little slack counts ties as ties although sums in another order differ in the last bit.
    observed = total - 1e-12 * abs(differences).sum()

    def is_extreme(signs: NDArray[np.floating]) -> NDArray[np.bool_]:
        sums = signs @ differences
        found: NDArray[np.bool_] = (sums if one_sided else abs(sums)) >= observed
        return found

    if count <= _MAX_EXACT_ITEMS:
        return float(is_extreme(1.0 - 2.0 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)).mean())
    extreme = 0
    for rows in _batches(count):
        extreme += int(is_extreme(1.0 - 2.0 * random.integers(0, 2, (rows, count), dtype=np.int8)).sum())
    return (extreme + 1) / (RESAMPLES + 1)


def _batches(columns: int) -> list[int]:
    """How many resamples to draw at once, so that memory stays bounded."""
    rows = max(1, min(RESAMPLES, _MAX_CELLS // columns))
    full, rest = divmod(RESAMPLES, rows)
    return [rows] * full + [rest] * (rest > 0)
