"""Several comparisons at once."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from tailor.errors import InvalidRequest
from tailor.grading import benjamini_hochberg, holm, paired_difference, paired_differences

P_VALUES = st.lists(st.floats(0, 1), max_size=12)


def test_holm_gives_the_figures_worked_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@settings(max_examples=20, deadline=None)  # theirs take a while
@given(P_VALUES)
def test_both_agree_with_statsmodels(p_values: list[float]) -> None:
    if p_values:
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1])
        assert benjamini_hochberg(p_values) == pytest.approx(multipletests(p_values, method="fdr_bh")[1])


@given(P_VALUES)
def test_nothing_becomes_more_certain_and_the_order_stays(p_values: list[float]) -> None:
    for adjusted in (holm(p_values), benjamini_hochberg(p_values)):
        assert all(p <= after <= 1 for p, after in zip(p_values, adjusted, strict=True))
        by_p = sorted(range(len(p_values)), key=p_values.__getitem__)
        assert [adjusted[place] for place in by_p] == sorted(adjusted)


def test_the_best_of_ten_arms_must_be_better_than_chance_makes_it() -> None:
    generator = random.Random(6)
    before = [generator.random() < 0.5 for _ in range(200)]
    arms = {f"arm {number}": [generator.random() < 0.5 for _ in before] for number in range(9)}
    arms["real"] = [passed or generator.random() < 0.5 for passed in before]
    found = paired_differences(before, arms)
    assert [name for name, difference in found.items() if difference.p < 0.05] == ["real"]
    assert "corrected for 10 comparisons" in found["real"].method
    alone = paired_difference(before, arms["real"])
    assert found["real"].p == pytest.approx(10 * alone.p)
    assert found["real"].low < alone.low < alone.high < found["real"].high


def test_one_arm_needs_no_correction() -> None:
    before, after = [False] * 20, [True] * 12 + [False] * 8
    assert paired_differences(before, {"only": after}) == {"only": paired_difference(before, after)}
    assert paired_differences(before, {}) == {}


def test_what_is_no_p_value_is_refused() -> None:
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(InvalidRequest):
            adjust([0.5, 1.5])
        with pytest.raises(InvalidRequest):
            adjust([float("nan")])
