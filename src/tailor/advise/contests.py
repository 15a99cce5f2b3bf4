"""Arms against each other on the same items: paired tests, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from tailor.advise.arms import ArmResult
from tailor.grading import Difference, holm, no_worse, paired_difference, repeated_difference

ALPHA = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Contests:
    """Every arm against every other."""

    differences: dict[tuple[str, str], Difference]
    """By (one, other): the other's score minus the one's; p after Holm's correction over all pairs."""

    def of(self, one: str, other: str) -> Difference:
        """The other minus the one."""
        if (one, other) in self.differences:
            return self.differences[one, other]
        turned = self.differences[other, one]
        return replace(turned, mean=-turned.mean, low=-turned.high, high=-turned.low)

    def is_better(self, one: str, than: str) -> bool:
        """Whether one is better than another for certain."""
        found = self.of(than, one)
        return found.mean > 0 and found.p < ALPHA

    def to_dict(self) -> list[dict[str, Any]]:
        """For programs."""
        return [
            {
                "arm": other,
                "against": one,
                "difference": found.mean,
                "interval": {"low": found.low, "high": found.high},
                "p_value": found.p,
                "test": found.method,
            }
            for (one, other), found in self.differences.items()
        ]


def contests(results: Sequence[ArmResult]) -> Contests:
    """All pairs, corrected together.

    McNemar's exact test for pass and fail, sign flips for scores, a t-test over items and runs where a
    training was repeated. The family is all pairs: which of them the verdict looks at depends on the outcome.
    """
    pairs = list(combinations(results, 2))
    found = [difference(one, other) for one, other in pairs]
    adjusted = holm([each.p for each in found])
    return Contests(
        differences={
            (one.arm.name, other.arm.name): replace(each, p=p)
            for (one, other), each, p in zip(pairs, found, adjusted, strict=True)
        }
    )


def difference(one: ArmResult, other: ArmResult) -> Difference:
    """The other's score minus the one's, not corrected."""
    if len(other.runs) > 1:
        return repeated_difference(one.scores, other.runs)
    if len(one.runs) > 1:
        turned = repeated_difference(other.scores, one.runs)
        return replace(turned, mean=-turned.mean, low=-turned.high, high=-turned.low)
    return paired_difference(one.scores, other.scores)


def is_as_good(cheaper: ArmResult, dearer: ArmResult, *, margin: float) -> bool:
    """Whether the cheaper one is shown to be no worse than the dearer one by more than the margin."""
    return no_worse(dearer.scores, cheaper.scores, margin=margin).verdict == "no worse"
