"""What so many items can show, held against counting every outcome."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from tailor.errors import InvalidRequest
from tailor.grading import items_needed, mcnemar, minimum_detectable, minimum_detectable_mean, power_of


def counted(items: int, difference: float, discordance: float) -> float:
    """The power by going through every outcome."""
    fixed, broken = (discordance + difference) / 2, (discordance - difference) / 2
    return sum(
        comb(items, up)
        * comb(items - up, down)
        * fixed**up
        * broken**down
        * (1 - discordance) ** (items - up - down)
        for up in range(items + 1)
        for down in range(items + 1 - up)
        if up > down and mcnemar(up, down) < 0.05
    )


@pytest.mark.parametrize(
    ("items", "difference", "discordance"),
    [(8, 0.5, 0.9), (25, 0.3, 0.3), (40, 0.2, 0.3), (40, 0.0, 0.5), (60, 0.15, 1.0), (5, 0.9, 0.9)],
)
def test_the_power_is_that_of_every_outcome_counted(
    items: int, difference: float, discordance: float
) -> None:
    assert power_of(items, difference, discordance) == pytest.approx(
        counted(items, difference, discordance), abs=1e-9
    )


def test_120_items_show_8_points_where_one_in_ten_answers_changes() -> None:
    found = minimum_detectable(120, discordance=0.1)
    assert found.difference == pytest.approx(0.0814, abs=5e-5)
    assert found.sentence == (
        "With 120 items of which 10 % change, you can see 8.2 points: a true difference of that size is "
        "found in 80 of 100 runs."
    )


def test_without_a_discordance_the_best_case_is_said_to_be_one() -> None:
    found = minimum_detectable(120)
    assert found.difference == pytest.approx(0.0651, abs=5e-5)
    assert found.sentence.endswith("if none gets worse.")
    assert found.difference is not None
    assert power_of(120, found.difference, found.difference) == pytest.approx(0.8, abs=1e-4)


def test_a_handful_of_items_shows_nothing() -> None:
    for items in (1, 5):
        assert minimum_detectable(items).difference is None
        assert "no difference can be seen" in minimum_detectable(items).sentence


def test_the_items_wanted_for_a_difference_are_the_fewest() -> None:
    items = items_needed(0.05, discordance=0.1)
    assert items == 337
    assert power_of(items, 0.05, 0.1) >= 0.8 > power_of(items - 1, 0.05, 0.1)
    assert items_needed(0.08) == 98
    assert items_needed(0.02, discordance=0.1) > 2_000


@settings(max_examples=30, deadline=None)
@given(st.integers(6, 3_000), st.floats(0.02, 1.0), st.floats(0, 1), st.floats(0, 1))
def test_more_items_and_greater_differences_are_seen_more_often(
    items: int, discordance: float, one: float, other: float
) -> None:
    less, more = sorted((one * discordance, other * discordance))
    assert 0 <= power_of(items, less, discordance) <= power_of(items, more, discordance) + 1e-9 <= 1 + 1e-9
    # Nothing to be found: found in one direction in at most 2.5 of 100 cases.
    assert power_of(items, 0.0, discordance) <= 0.025


def test_scores_are_planned_by_a_t_test_as_in_statsmodels() -> None:
    for items, deviation in ((10, 1.0), (50, 0.3), (400, 2.0)):
        theirs = TTestPower().solve_power(nobs=items, alpha=0.05, power=0.8) * deviation
        assert minimum_detectable_mean(items, deviation) == pytest.approx(theirs, rel=1e-3)
    assert minimum_detectable_mean(1, 1.0) is None


def test_what_cannot_be_planned_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        power_of(10, 0.5, 0.2)
    with pytest.raises(InvalidRequest):
        items_needed(0.3, discordance=0.2)
    with pytest.raises(InvalidRequest):
        items_needed(0.0)
    with pytest.raises(InvalidRequest):
        minimum_detectable(0)
