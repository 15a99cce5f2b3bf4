"""The bootstrap of any metric, against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tailor.errors import InvalidRequest
from tailor.grading import bootstrap

Column = NDArray[np.float64]


def f1(expected: Column, answered: Column) -> float:
    hits = float((expected * answered).sum())
    return 2 * hits / max(float(expected.sum() + answered.sum()), 1.0)


def gain(expected: Column, before: Column, after: Column) -> float:
    return f1(expected, after) - f1(expected, before)


def test_f1_has_scipys_interval() -> None:
    from scipy.stats import bootstrap as theirs

    random = np.random.default_rng(2)
    expected = (random.random(120) < 0.3).astype(float)
    answered = np.where(random.random(120) < 0.85, expected, 1 - expected)
    ours = bootstrap(f1, expected.tolist(), answered.tolist(), resamples=3_000)
    interval = theirs(
        (expected, answered), f1, paired=True, vectorized=False, method="BCa", n_resamples=3_000, rng=1
    ).confidence_interval
    assert ours.value == f1(expected, answered)
    assert ours.low == pytest.approx(interval.low, abs=0.012)
    assert ours.high == pytest.approx(interval.high, abs=0.012)


def test_a_gain_keeps_the_pairs_together() -> None:
    random = np.random.default_rng(3)
    expected = (random.random(150) < 0.5).astype(float)
    before = np.where(random.random(150) < 0.7, expected, 1 - expected)
    after = np.where(random.random(150) < 0.5, expected, before)
    paired = bootstrap(gain, expected.tolist(), before.tolist(), after.tolist(), resamples=999)
    apart = bootstrap(gain, expected.tolist(), before.tolist(), before.tolist(), resamples=99)
    assert 0 < paired.low < paired.value < paired.high
    assert (apart.low, apart.high) == (0.0, 0.0)


def test_a_wider_confidence_is_a_wider_interval_and_a_seed_repeats_it() -> None:
    values = np.random.default_rng(4).gamma(2.0, 1.0, 80).tolist()
    usual, sure = (bootstrap(np.mean, values, resamples=999, confidence=share) for share in (0.9, 0.99))
    assert sure.low < usual.low < usual.high < sure.high
    assert usual == bootstrap(np.mean, values, resamples=999, confidence=0.9)
    assert usual != bootstrap(np.mean, values, resamples=999, confidence=0.9, seed=1)


def test_texts_can_be_items_too() -> None:
    answers = ["yes", "no", "yes", "yes", "no", "yes"] * 5
    found = bootstrap(lambda column: float((column == "yes").mean()), answers, resamples=499)
    assert found.low < 2 / 3 < found.high


def test_what_has_no_interval_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="items"):
        bootstrap(np.mean, [])
    with pytest.raises(InvalidRequest, match="every column"):
        bootstrap(f1, [1.0], [1.0, 0.0])
    with pytest.raises(InvalidRequest, match="undefined"):
        bootstrap(lambda column: float("nan"), [1.0, 2.0])
