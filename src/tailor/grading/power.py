"""What so many items can show, said before anything is run.

For pass or fail on the same items before and after, by McNemar's exact test, nothing approximated: the number
of items that change is binomial, and of these the number fixed is binomial again (O. S. Miettinen, Biometrics
24, 1968, 339-352).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, sqrt
from typing import TYPE_CHECKING, Final

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ALPHA: Final = 0.05
"""Of 100 comparisons of a model with itself, at most 5 may find a difference."""

POWER: Final = 0.8
"""Of 100 comparisons with a true difference of the stated size, 80 are to find it."""

_PRECISION: Final = 1e-6
_TAILS: Final = 12
"""Standard deviations beyond which a binomial is nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Detectable:
    """The smallest true difference that a comparison finds in most cases."""

    items: int
    """Held-out items."""

    discordance: float | None
    """Share of items on which before and after disagree; None: as few as there can be, as none gets worse."""

    difference: float | None
    """As a share: 0.08 is 8 points. None where so many items can show nothing."""

    alpha: float
    """Of the two-sided test."""

    power: float
    """How often a true difference of this size is found."""

    @property
    def sentence(self) -> str:
        """For people, before the run."""
        known = "" if self.discordance is None else f" of which {100 * self.discordance:.0f} % change,"
        start = f"With {self.items:,} items{known}"
        if self.difference is None:
            return f"{start} no difference can be seen."
        hope = ", if none gets worse" if self.discordance is None else ""
        return (
            f"{start} you can see {in_points(self.difference)}: a true difference of that size is found in "
            f"{100 * self.power:.0f} of 100 runs{hope}."
        )


def in_points(share: float) -> str:
    """A share in points, rounded up: what is promised must hold."""
    exact = 100 * share - 1e-9
    points = ceil(exact) if exact > 10 else ceil(10 * exact) / 10
    return f"{points:g} {'point' if points == 1 else 'points'}"


def power_of(items: int, difference: float, discordance: float, *, alpha: float = ALPHA) -> float:
    """The chance that the exact McNemar test finds a true difference, and its direction.

    Raises:
        InvalidRequest: Unless there are items, and |difference| <= discordance <= 1.
    """
    if items < 1 or not abs(difference) <= discordance <= 1:
        raise InvalidRequest(
            f"A difference of {difference:g} needs at least as great a share of items that change, "
            f"at most 1, and at least one item; got {discordance:g} and {items}."
        )
    if discordance == 0:
        return 0.0
    import numpy as np
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    middle, reach = items * discordance, _TAILS * sqrt(items * discordance * (1 - discordance)) + _TAILS
    changed = np.arange(max(0, int(middle - reach)), min(items, int(middle + reach)) + 1)
    likelihood = np.exp(
        gammaln(items + 1)
        - gammaln(changed + 1)
        - gammaln(items - changed + 1)
        + xlogy(changed, discordance)
        + xlog1py(items - changed, -discordance)
    )
    most_broken = _most_broken(changed, alpha)
    share_broken = (discordance - abs(difference)) / (2 * discordance)
    found = np.where(most_broken < 0, 0.0, bdtr(np.maximum(most_broken, 0), changed, share_broken))
    return float(min(1.0, (likelihood * found).sum()))


def minimum_detectable(
    items: int, *, discordance: float | None = None, alpha: float = ALPHA, power: float = POWER
) -> Detectable:
    """The smallest difference that so many items show with that power.

    Without a discordance the answer is the best that can be hoped for: all items that change, change for the
    better. One known from an earlier run, or guessed, gives what to expect.

    Raises:
        InvalidRequest: No items, or a discordance that is no share.
    """
    if items < 1 or not 0 <= (discordance or 0) <= 1:
        raise InvalidRequest("The items are at least one, and the discordance is a share from 0 to 1.")
    found = _least(lambda difference: _power(items, difference, discordance, alpha), power, discordance or 1)
    return Detectable(items=items, discordance=discordance, difference=found, alpha=alpha, power=power)


def items_needed(
    difference: float, *, discordance: float | None = None, alpha: float = ALPHA, power: float = POWER
) -> int:
    """How many items show a difference with that power; without a discordance, the fewest at best.

    Raises:
        InvalidRequest: Unless 0 < difference <= discordance <= 1.
    """
    if not 0 < difference <= (1 if discordance is None else discordance) <= 1:
        raise InvalidRequest(
            f"A difference of {difference:g} cannot be found where a share of {discordance or 1:g} changes."
        )

    def suffices(items: int) -> bool:
        return _power(items, difference, discordance, alpha) >= power

    most = 1
    while not suffices(most):
        most *= 2
    too_few = most // 2
    while most - too_few > 1:
        middle = (most + too_few) // 2
        most, too_few = (middle, too_few) if suffices(middle) else (most, middle)
    return most


def minimum_detectable_mean(
    items: int, deviation: float, *, alpha: float = ALPHA, power: float = POWER
) -> float | None:
    """The same for scores with a mean, from the standard deviation of the paired differences, by a t-test.

    Raises:
        InvalidRequest: No items, or a negative deviation.
    """
    if items < 1 or deviation < 0:
        raise InvalidRequest("The items are at least one, and a deviation is not negative.")
    if items < 2:
        return None
    from scipy.special import nctdtr, stdtrit

    critical = stdtrit(items - 1, 1 - alpha / 2)
    shift = _least(lambda shift: 1 - float(nctdtr(items - 1, shift, critical)), power, 100.0)
    return None if shift is None else shift * deviation / sqrt(items)


def _power(items: int, difference: float, discordance: float | None, alpha: float) -> float:
    return power_of(items, difference, difference if discordance is None else discordance, alpha=alpha)


def _most_broken(changed: NDArray[np.int64], alpha: float) -> NDArray[np.float64]:
    """For each number of changed items, how few must be broken for p < alpha; -1: none are few enough."""
    import numpy as np
    from scipy.special import bdtr, bdtrik

    with np.errstate(invalid="ignore"):
        guess = np.nan_to_num(np.floor(bdtrik(alpha / 2, changed, 0.5)), nan=-1.0)
    # The inverse may be off by one either way.
    for _ in range(2):
        guess = np.where(
            (guess >= 0) & (bdtr(np.maximum(guess, 0), changed, 0.5) >= alpha / 2), guess - 1, guess
        )
    most: NDArray[np.float64] = np.where(bdtr(guess + 1, changed, 0.5) < alpha / 2, guess + 1, guess)
    return most


def _least(chance: Callable[[float], float], wanted: float, most: float) -> float | None:
    """The least value whose chance is as wanted, if any up to `most` is."""
    if chance(most) < wanted:
        return None
    least = 0.0
    while most - least > _PRECISION:
        middle = (least + most) / 2
        least, most = (least, middle) if chance(middle) >= wanted else (middle, most)
    return most
