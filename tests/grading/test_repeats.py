"""Several training runs of the same recipe."""

from __future__ import annotations

import numpy as np
import pytest

from tailor.errors import InvalidRequest
from tailor.grading import paired_difference, repeated_difference


def test_runs_that_agree_say_the_same_as_one() -> None:
    random = np.random.default_rng(1)
    before = (random.random(200) < 0.5).tolist()
    after = [passed or random.random() < 0.3 for passed in before]
    several, one = repeated_difference(before, [after] * 3), paired_difference(before, after)
    assert several.mean == pytest.approx(one.mean)
    assert several.low == pytest.approx(one.low, abs=0.02)
    assert several.p < 0.001


def test_runs_that_differ_make_it_uncertain() -> None:
    before = [False] * 100
    good, bad = [True] * 40 + [False] * 60, [False] * 100
    assert paired_difference(before, good).p < 1e-6
    both = repeated_difference(before, [good, bad])
    assert both.p > 0.3
    assert both.low < 0 < both.high


def test_the_interval_holds_the_gain_of_the_recipe() -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(300):
        easy = random.normal(0, 1.5, 80)
        before = random.random(80) < 1 / (1 + np.exp(-easy))
        runs = [random.random(80) < 1 / (1 + np.exp(-(easy + 0.8 + random.normal(0, 0.3)))) for _ in range(4)]
        truth = 0.1371  # the mean gain over items and runs of this recipe, from four million of them
        difference = repeated_difference(before.tolist(), [run.tolist() for run in runs])
        held += difference.low <= truth <= difference.high
    assert 0.92 <= held / 300 <= 0.99


def test_nothing_changes_where_nothing_changes() -> None:
    same = repeated_difference([0.5, 1.0], [[0.5, 1.0], [0.5, 1.0]])
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)


def test_two_items_that_always_gain_prove_little() -> None:
    assert repeated_difference([False, False], [[True, True]] * 3).p == 0.5


def test_one_run_has_no_noise_to_measure() -> None:
    with pytest.raises(InvalidRequest, match="two runs"):
        repeated_difference([True, False], [[True, True]])
    with pytest.raises(InvalidRequest):
        repeated_difference([True, False], [[True, True], [True]])
