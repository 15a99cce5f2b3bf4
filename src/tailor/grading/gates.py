"""Regression gates: is the new version no worse than the old one, by more than a margin?

"No significant difference" is not that: ten items show no difference between anything. Non-inferiority turns
the question round, and passes only what has been shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from tailor.errors import InvalidRequest
from tailor.grading.resampling import sign_flip
from tailor.grading.statistics import Difference, Scores, are_passes, paired_difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHA: Final = 0.025
"""One-sided, so that the test and the 95 % interval say the same."""

_GRIDS: Final = 256, 32, 32

GateVerdict = Literal["no worse", "worse", "cannot tell"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """Whether a version may replace another, as far as one metric goes."""

    verdict: GateVerdict
    """No worse by more than the margin; worse for certain; or too few items to tell."""

    margin: float
    """The loss that would be accepted."""

    p: float
    """Probability of a result as good, if the version were worse by the margin."""

    difference: Difference
    """After minus before, with interval."""

    @property
    def sentence(self) -> str:
        """For people."""
        low, high = self.difference.low, self.difference.high
        figures = f"{self.difference.mean:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        match self.verdict:
            case "no worse":
                return f"No worse by more than {self.margin:g} ({figures}; p = {self.p:.3g})."
            case "worse":
                return f"Worse ({figures})."
            case "cannot tell":
                return (
                    f"{self.difference.items} items cannot tell whether it is worse by more than "
                    f"{self.margin:g} ({figures})."
                )


def no_worse(before: Scores, after: Scores, *, margin: float, seed: int = 0) -> Gate:
    """Non-inferiority of `after`, where more is better (negate losses), on the same items.

    Pass or fail: the exact unconditional test over Tango's score statistic. Anything else: a one-sided
    sign-flip test of the differences plus the margin. Both must agree with the 95 % interval.

    Raises:
        InvalidRequest: Unless the margin is above zero (and under 1 for pass or fail), or for what
            `paired_difference` refuses.
    """
    difference = paired_difference(before, after, seed=seed)
    passes = are_passes(before, after)
    if margin <= 0 or (passes and margin >= 1):
        raise InvalidRequest(
            f"A margin of {margin:g} is none: it is the loss that would be accepted, such as 0.02.",
            param="margin",
        )
    if passes:
        pairs = list(zip(before, after, strict=True))
        p = non_inferiority(pairs.count((0, 1)), pairs.count((1, 0)), len(pairs), margin)
    else:
        import numpy as np

        shifted = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64) + margin
        p = sign_flip(shifted, seed=seed, one_sided=True)
    verdict: GateVerdict = "cannot tell"
    if p < ALPHA and difference.low > -margin:
        verdict = "no worse"
    elif difference.p < 2 * ALPHA and difference.high < 0:
        verdict = "worse"
    return Gate(verdict=verdict, margin=margin, p=p, difference=difference)


def non_inferiority(fixed: int, broken: int, items: int, margin: float) -> float:
    """Exact p of "worse by the margin" from the counts of a paired comparison.

    T. Tango's score statistic (Statistics in Medicine 17, 1998, 891-908), and under each possible share of
    broken items the chance of one as great, of which the greatest counts (K. Sidik, Statistics in Medicine
    22, 2003, 265-278): no large-sample approximation, so it may be believed for 20 items as for 2,000.
    """
    import numpy as np
    from scipy.special import bdtrc, gammaln, xlog1py, xlogy

    seen = float(tango(fixed, broken, items, margin)) - 1e-9
    lost = np.arange(items + 1)
    enough = _fewest_fixed(lost, items, margin, seen)
    reachable = enough <= items - lost
    rest, wanted = np.where(reachable, items - lost, 1), np.where(reachable, enough, 1)
    ways = gammaln(items + 1) - gammaln(lost + 1) - gammaln(items - lost + 1)

    def chances(shares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of a statistic as great, where that share is broken and fixed falls short of it by the margin."""
        likelihood = np.exp(ways + xlogy(lost, shares) + xlog1py(items - lost, -shares))
        of_rest = np.clip((shares - margin) / (1 - shares), 0, 1)
        tail = np.where(wanted > 0, bdtrc(np.maximum(wanted - 1, 0), rest, of_rest), 1.0)
        total: NDArray[np.float64] = (likelihood * np.where(reachable, tail, 0.0)).sum(axis=1)
        return total

    least, most, worst = margin, (1 + margin) / 2, 0.0
    # A grid, then finer ones around its best: the chance is smooth in the share.
    for num_shares in _GRIDS:
        shares = np.linspace(least, most, num_shares)
        found = chances(shares[:, None])
        best = int(np.argmax(found))
        worst = max(worst, float(found[best]))
        least, most = float(shares[max(best - 1, 0)]), float(shares[min(best + 1, num_shares - 1)])
    return min(1.0, worst)


def tango(fixed: Any, broken: Any, items: int, margin: float) -> Any:
    """Tango's score statistic of "worse by the margin"; counts may be arrays."""
    import numpy as np

    shift = -margin
    b = -fixed - broken + (2 * items - fixed + broken) * shift
    c = -broken * shift * (1 - shift)
    share_broken = (np.sqrt(np.maximum(b * b - 8 * items * c, 0)) - b) / (4 * items)
    variance = items * (2 * share_broken + shift * (1 - shift))
    return (fixed - broken - items * shift) / np.sqrt(np.maximum(variance, 1e-12))


def _fewest_fixed(broken: NDArray[np.int64], items: int, margin: float, seen: float) -> NDArray[np.int64]:
    """For each number of broken items, the fewest fixed ones whose statistic is as great as that seen.

    More than there is room for where none are enough; the statistic rises with the fixed ones.
    """
    import numpy as np

    low, high = np.full_like(broken, -1), items - broken + 1
    while (high - low > 1).any():
        middle = (low + high) // 2
        is_enough = tango(middle, broken, items, margin) >= seen
        high, low = np.where(is_enough, middle, high), np.where(is_enough, low, middle)
    return high
