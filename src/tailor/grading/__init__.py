"""Graders and paired statistics: pure functions over answers and scores."""

from tailor.grading.corrections import benjamini_hochberg, holm
from tailor.grading.curves import Forecast, LearningCurve, Point, learning_curve
from tailor.grading.gates import Gate, no_worse, non_inferiority
from tailor.grading.graders import (
    Embed,
    Ran,
    RunPython,
    check_means,
    grade_batch,
    grade_now,
    needs_vectors,
    parts_of,
)
from tailor.grading.grades import Grade
from tailor.grading.judging import Ask, Question, Reply
from tailor.grading.patterns import equals, matches
from tailor.grading.power import (
    Detectable,
    items_needed,
    minimum_detectable,
    minimum_detectable_mean,
    power_of,
)
from tailor.grading.repeats import repeated_difference
from tailor.grading.resampling import Estimate, bootstrap
from tailor.grading.samples import Answered, sample_of
from tailor.grading.similarity import similarity
from tailor.grading.statistics import (
    Difference,
    Interval,
    mcnemar,
    newcombe_paired,
    paired_difference,
    paired_differences,
    percentile,
    wilson,
)

__all__ = [
    "Answered",
    "Ask",
    "Detectable",
    "Difference",
    "Embed",
    "Estimate",
    "Forecast",
    "Gate",
    "Grade",
    "Interval",
    "LearningCurve",
    "Point",
    "Question",
    "Ran",
    "Reply",
    "RunPython",
    "benjamini_hochberg",
    "bootstrap",
    "check_means",
    "equals",
    "grade_batch",
    "grade_now",
    "holm",
    "items_needed",
    "learning_curve",
    "matches",
    "mcnemar",
    "minimum_detectable",
    "minimum_detectable_mean",
    "newcombe_paired",
    "no_worse",
    "non_inferiority",
    "paired_difference",
    "paired_differences",
    "needs_vectors",
    "parts_of",
    "percentile",
    "power_of",
    "repeated_difference",
    "sample_of",
    "similarity",
    "wilson",
]
