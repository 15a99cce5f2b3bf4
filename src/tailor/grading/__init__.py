"""Graders and paired statistics: pure functions over answers and scores."""

from tailor.grading.graders import (
    Embed,
    Ran,
    RunPython,
    check_means,
    grade_batch,
    grade_now,
    parts_of,
)
from tailor.grading.grades import Grade
from tailor.grading.judging import Ask, Question, Reply
from tailor.grading.patterns import equals, matches
from tailor.grading.samples import Answered, sample_of
from tailor.grading.similarity import similarity
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
    "Answered",
    "Ask",
    "Difference",
    "Embed",
    "Grade",
    "Interval",
    "Question",
    "Ran",
    "Reply",
    "RunPython",
    "check_means",
    "equals",
    "grade_batch",
    "grade_now",
    "matches",
    "mcnemar",
    "newcombe_paired",
    "paired_difference",
    "parts_of",
    "percentile",
    "sample_of",
    "similarity",
    "wilson",
]
