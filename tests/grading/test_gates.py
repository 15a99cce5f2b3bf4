"""Regression gates: what passes has been shown to be no worse."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from scipy.optimize import brentq

from tailor.errors import InvalidRequest
from tailor.grading import no_worse, non_inferiority
from tailor.grading.gates import tango


def passes(both: int, fixed: int, broken: int, neither: int) -> tuple[list[bool], list[bool]]:
    before = [True] * both + [False] * fixed + [True] * broken + [False] * neither
    after = [True] * both + [True] * fixed + [False] * broken + [False] * neither
    return before, after


def test_tangos_statistic_gives_the_published_interval() -> None:
    # Airway hyper-responsiveness before and after transplantation (Bentur 2009): the asymptotic score
    # interval in Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875.
    low = -brentq(lambda margin: tango(1, 7, 21, margin) - 1.959964, -0.9, 0.999)
    high = -brentq(lambda margin: tango(1, 7, 21, margin) + 1.959964, -0.9, 0.999)
    assert (round(low, 3), round(high, 3)) == (-0.517, -0.026)


def test_at_no_margin_it_is_mcnemars_statistic() -> None:
    assert float(tango(9, 4, 50, 0.0)) == pytest.approx((9 - 4) / (9 + 4) ** 0.5)


@pytest.mark.parametrize(
    ("fixed", "broken", "items", "margin"),
    [(1, 2, 12, 0.1), (0, 1, 15, 0.2), (3, 3, 14, 0.15), (0, 0, 20, 0.1)],
)
def test_the_exact_p_is_that_of_every_outcome_counted(
    fixed: int, broken: int, items: int, margin: float
) -> None:
    seen = float(tango(fixed, broken, items, margin)) - 1e-9
    as_good = [
        (up, down)
        for up in range(items + 1)
        for down in range(items + 1 - up)
        if float(tango(up, down, items, margin)) >= seen
    ]
    worst = max(
        sum(
            comb(items, up)
            * comb(items - up, down)
            * (share - margin) ** up
            * share**down
            * max(1 - 2 * share + margin, 0) ** (items - up - down)
            for up, down in as_good
        )
        for share in np.linspace(margin, (1 + margin) / 2, 400)
    )
    assert non_inferiority(fixed, broken, items, margin) == pytest.approx(worst, abs=1e-4)


def test_many_items_without_a_change_are_no_worse() -> None:
    gate = no_worse(*passes(200, 0, 0, 20), margin=0.05)
    assert gate.verdict == "no worse"
    assert "No worse by more than 0.05" in gate.sentence


def test_few_items_without_a_change_tell_nothing() -> None:
    gate = no_worse(*passes(9, 0, 0, 1), margin=0.05)
    assert gate.verdict == "cannot tell"
    assert "10 items cannot tell" in gate.sentence


def test_a_regression_is_called_one() -> None:
    gate = no_worse(*passes(150, 5, 30, 15), margin=0.02)
    assert gate.verdict == "worse"
    assert gate.difference.high < 0 < gate.p


def test_no_significant_difference_is_not_enough() -> None:
    gate = no_worse(*passes(80, 5, 9, 6), margin=0.02)
    assert gate.difference.p > 0.05
    assert gate.verdict == "cannot tell"


def test_scores_pass_too() -> None:
    random = np.random.default_rng(1)
    before = random.uniform(0.5, 1.0, 200)
    after = before + random.normal(0, 0.05, 200)
    assert no_worse(before.tolist(), after.tolist(), margin=0.02).verdict == "no worse"
    assert no_worse(before.tolist(), (after - 0.1).tolist(), margin=0.02).verdict == "worse"
    assert no_worse(before[:8].tolist(), after[:8].tolist(), margin=0.001).verdict == "cannot tell"


def test_a_margin_is_a_loss_one_would_accept() -> None:
    for margin in (0.0, -0.1, 1.0):
        with pytest.raises(InvalidRequest):
            no_worse(*passes(5, 1, 1, 1), margin=margin)
