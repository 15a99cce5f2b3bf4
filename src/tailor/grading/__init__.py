"""Graders and paired statistics: pure functions over answers and scores."""

from tailor.grading.patterns import equals, matches
from tailor.grading.statistics import (
    Difference,
    Interval,
    mcnemar,
    newcombe_paired,
    paired_difference,
    percentile,
    wilson,
)

__all__ = [
    "Difference",
    "Interval",
    "equals",
    "matches",
    "mcnemar",
    "newcombe_paired",
    "paired_difference",
    "percentile",
    "wilson",
]
