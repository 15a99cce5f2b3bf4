"""Several comparisons at once: the more one looks for a difference, the likelier chance offers one."""

from __future__ import annotations

from collections.abc import Sequence

from tailor.errors import InvalidRequest


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: one false claim among all of them at most, with 95 % certainty.

    For arms that are claimed to be better; valid however they depend on each other (S. Holm, Scandinavian
    Journal of Statistics 6, 1979, 65-70).
    """
    _check(p_values)
    count, least = len(p_values), 0.0
    adjusted = [0.0] * count
    for rank, place in enumerate(_ascending(p_values)):
        least = max(least, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = least
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: of what is called a find below 0.05, 5 % are none, on average.

    For long lists to look through, such as metrics by slice; never for a claim that an arm is better
    (Y. Benjamini and Y. Hochberg, JRSS B 57, 1995, 289-300; independent or positively dependent tests).
    """
    _check(p_values)
    count, most = len(p_values), 1.0
    adjusted = [0.0] * count
    for rank, place in reversed(list(enumerate(_ascending(p_values), start=1))):
        most = min(most, count / rank * p_values[place])
        adjusted[place] = most
    return adjusted


def _ascending(p_values: Sequence[float]) -> list[int]:
    return sorted(range(len(p_values)), key=p_values.__getitem__)


def _check(p_values: Sequence[float]) -> None:
    if not all(0 <= p <= 1 for p in p_values):
        raise InvalidRequest("A p-value lies between 0 and 1.")
