"""Learning curves: what they promise, and how often it holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailor.errors import InvalidRequest
from tailor.grading import Point, learning_curve


def points(measured: dict[int, float], items: int = 400) -> list[Point]:
    return [Point(size=size, quality=quality, items=items) for size, quality in measured.items()]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=5),
    st.sampled_from([5, 50, 400, 5_000]),
    st.integers(0, 10),
)
def test_any_points_give_a_curve_that_rises_within_its_bounds(
    qualities: list[float], items: int, seed: int
) -> None:
    measured = {25 * 2**place: quality for place, quality in enumerate(qualities)}
    curve = learning_curve(points(measured, items), seed=seed)
    before = -1.0
    for size in (0, 10, 100, 400, 1_000, 10_000, 10**7):
        found = curve.at(size)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.value >= before
        before = found.value
        noisy = curve.at(size, items=items)
        assert 0 <= noisy.low <= noisy.value <= noisy.high <= 1
    gain = curve.gain(2 * curve.largest)
    assert 0 <= gain.low <= gain.value <= gain.high <= 1
    assert curve.sentence(2).startswith("2x the data: ")


def test_a_curve_that_still_rises_says_by_how_much() -> None:
    curve = learning_curve(points({50: 0.40, 100: 0.55, 200: 0.68, 400: 0.77}))
    gain = curve.gain(800)
    assert 0 < gain.low < 0.06 < gain.high < 0.12
    assert curve.sentence(2) == "2x the data: +7 points (1 to 10)"


def test_a_flat_curve_says_that_more_data_brings_nothing() -> None:
    curve = learning_curve(points({50: 0.90, 100: 0.905, 200: 0.90, 400: 0.902}, items=2_000))
    assert curve.gain(800).high < 0.025
    assert curve.sentence(2).startswith("2x the data: +0 points (0 to ")


def test_few_items_make_it_uncertain() -> None:
    measured = {50: 0.40, 100: 0.55, 200: 0.68}
    few, many = (learning_curve(points(measured, items)).at(800) for items in (30, 3_000))
    assert few.high - few.low > 1.3 * (many.high - many.low)


def test_it_says_when_it_cannot_tell() -> None:
    nothing_yet = learning_curve(points({100: 0.0, 200: 0.0, 400: 0.0}, items=200))
    assert "cannot tell, anything from +0" in nothing_yet.sentence(4)
    assert "cannot tell, so far beyond 400" in nothing_yet.sentence(100)
    taking_off = learning_curve(points({0: 0.0, 50: 0.02, 100: 0.10, 200: 0.35}, items=300))
    assert "at least +" in taking_off.sentence(2)
    falling = learning_curve(points({100: 0.9, 200: 0.8, 400: 0.6}))
    assert "Quality fell from 90.0% with 100 examples to 60.0% with 400" in falling.sentence(2)


def test_chance_may_make_it_fall_a_little() -> None:
    assert learning_curve(points({100: 0.90, 200: 0.85, 400: 0.88}, items=200)).fall is None


def test_one_run_more_is_less_certain_than_the_truth() -> None:
    curve = learning_curve(points({50: 0.40, 100: 0.55, 200: 0.68}))
    truth, run = curve.at(400), curve.at(400, items=100)
    assert run.high - run.low > truth.high - truth.low


def test_several_runs_at_a_size_are_several_points() -> None:
    runs = [Point(size=size, quality=q, items=200) for size in (50, 100, 200) for q in (0.6, 0.7, 0.65)]
    once = [Point(size=size, quality=0.65, items=200) for size in (50, 100, 200)]
    several, single = learning_curve(runs).at(200), learning_curve(once).at(200)
    assert several.value == pytest.approx(single.value, abs=0.03)


def test_the_same_points_give_the_same_curve() -> None:
    measured = points({50: 0.4, 100: 0.5, 200: 0.6})
    assert learning_curve(measured).at(400) == learning_curve(measured[::-1]).at(400)
    assert learning_curve(measured, seed=1).at(400).value == pytest.approx(
        learning_curve(measured).at(400).value, abs=0.02
    )


def test_what_is_no_curve_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at least 3 sizes"):
        learning_curve(points({50: 0.4, 100: 0.5}))
    for point in (
        Point(size=-1, quality=0.5, items=10),
        Point(size=1, quality=1.5, items=10),
        Point(size=1, quality=float("nan"), items=10),
        Point(size=1, quality=0.5, items=0),
    ):
        with pytest.raises(InvalidRequest):
            learning_curve([point, *points({50: 0.4, 100: 0.5, 200: 0.6})])
    curve = learning_curve(points({50: 0.4, 100: 0.5, 200: 0.6}))
    with pytest.raises(InvalidRequest):
        curve.at(-1)


def test_the_interval_holds_the_next_measurement_about_as_often_as_it_says() -> None:
    """20 simulated tasks; benchmarks/honesty.py has hundreds, of several kinds."""
    random = np.random.default_rng(5)
    held = 0
    for _ in range(20):
        ceiling, start = random.uniform(0.6, 0.99), random.uniform(0.0, 0.4)
        rate, scale = random.uniform(0.3, 1.0), random.uniform(20, 200)

        def measure(
            size: int, top: float = ceiling, low: float = start, by: float = rate, at: float = scale
        ) -> float:
            truth = top - (top - low) * (1 + size / at) ** -by
            return float(random.binomial(300, np.clip(truth + random.normal(0, 0.01), 0, 1)) / 300)

        curve = learning_curve(points({size: measure(size) for size in (50, 100, 200, 400)}, items=300))
        found = curve.at(1_600, items=300)
        held += found.low <= measure(1_600) <= found.high
    assert held >= 17
