import random
import subprocess
import sys

import pytest

from tailor.errors import InvalidRequest
from tailor.grading import mcnemar, newcombe_paired, paired_difference, percentile, wilson

# Newcombe, Statistics in Medicine 17 (1998) 857-872, table I: his four examples for one proportion.
NEWCOMBE_TABLE = [
    (81, 263, 0.2553, 0.3662),
    (15, 148, 0.0624, 0.1605),
    (0, 20, 0.0, 0.1611),
    (1, 29, 0.0061, 0.1718),
]

# Darwin's fifteen pairs of maize plants, crossed minus self-fertilised, in eighths of an inch
# (Fisher, The Design of Experiments, 1935, section 17; the randomisation test is his section 21).
DARWINS_MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


@pytest.mark.parametrize(("passed", "total", "low", "high"), NEWCOMBE_TABLE)
def test_wilson_gives_the_published_intervals(passed: int, total: int, low: float, high: float) -> None:
    interval = wilson(passed, total)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_is_the_same_counted_the_other_way() -> None:
    there, back = wilson(9, 31), wilson(22, 31)
    assert there.low == pytest.approx(1 - back.high)
    assert wilson(31, 31).high == 1.0


def test_mcnemar_and_the_paired_interval_give_the_published_figures() -> None:
    # Airway hyper-responsiveness of 21 children before and after transplantation (Bentur 2009), as worked
    # out by Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875.
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)
    interval = newcombe_paired(both=1, fixed=1, broken=7, neither=12)
    assert (round(interval.low, 3), round(interval.high, 3)) == (-0.507, -0.026)


def test_mcnemar_agrees_with_counting_coins() -> None:
    # 6 of 7 coins one way or further out, either way: 2 * (7 + 1) / 2**7
    assert mcnemar(6, 1) == pytest.approx(0.125)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(400, 9_600) < 1e-300
    assert mcnemar(5_000, 5_000) == 1.0
    assert mcnemar(3, 3) == 1.0


@pytest.mark.parametrize(("fixed", "broken"), [(6, 1), (0, 5), (30, 12), (7, 7), (210, 171)])
def test_mcnemar_gives_the_p_of_statsmodels_and_of_scipy(fixed: int, broken: int) -> None:
    from scipy.stats import binomtest
    from statsmodels.stats.contingency_tables import mcnemar as theirs

    assert mcnemar(fixed, broken) == pytest.approx(theirs([[9, broken], [fixed, 4]], exact=True).pvalue)
    assert mcnemar(fixed, broken) == pytest.approx(binomtest(fixed, fixed + broken).pvalue)


def test_the_mid_p_counts_what_was_seen_by_half() -> None:
    from scipy.stats import binom

    # Bentur 2009 again: Fagerland, Lydersen and Laake, BMC Medical Research Methodology 13:91 (2013).
    assert mcnemar(1, 7, mid=True) == pytest.approx(0.0391, abs=5e-5)
    assert mcnemar(30, 12, mid=True) == pytest.approx(mcnemar(30, 12) - binom.pmf(12, 42, 0.5))
    assert mcnemar(4, 4, mid=True) == 1.0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.995])
def test_wilson_has_the_interval_of_statsmodels(confidence: float) -> None:
    from statsmodels.stats.proportion import proportion_confint

    for passed, total in ((0, 20), (3, 20), (81, 263), (99, 100)):
        ours = wilson(passed, total, confidence=confidence)
        theirs = proportion_confint(passed, total, alpha=1 - confidence, method="wilson")
        assert (ours.low, ours.high) == pytest.approx(theirs, abs=1e-12)


def test_the_permutation_test_is_scipys() -> None:
    import numpy as np
    from scipy.stats import permutation_test

    differences = np.array(DARWINS_MAIZE[:11], dtype=float)
    theirs = permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert paired_difference([0.0] * 11, differences.tolist()).p == pytest.approx(theirs.pvalue)


def test_pass_or_fail_is_compared_as_proportions() -> None:
    before = [False] * 40 + [True] * 60
    after = [True] * 30 + [False] * 10 + [False] * 5 + [True] * 55
    difference = paired_difference(before, after)
    assert difference.mean == pytest.approx(0.25)
    assert difference.p == mcnemar(30, 5)
    assert difference.low < 0.25 < difference.high
    assert "McNemar" in difference.method


def test_losses_are_compared_by_their_means() -> None:
    difference = paired_difference([0.0] * 15, [eighths / 8 for eighths in DARWINS_MAIZE])
    assert difference.mean == pytest.approx(2.6167, abs=1e-4)
    assert difference.p == pytest.approx(1726 / 2**15)  # Fisher: 863 of 2**15 one way
    assert -0.5 < difference.low < 0.6 < 4.3 < difference.high < 5.0


def test_the_bootstrap_interval_agrees_with_scipy() -> None:
    import numpy as np
    from scipy.stats import bootstrap

    random_state = np.random.default_rng(3)
    before = random_state.gamma(2.0, 1.0, 300)
    after = before + random_state.exponential(0.2, 300) - 0.15
    ours = paired_difference(before.tolist(), after.tolist())
    theirs = bootstrap((after - before,), np.mean, method="BCa", rng=1, batch=1000).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.002)
    assert ours.high == pytest.approx(theirs.high, abs=0.002)


def test_the_same_input_gives_the_same_figures() -> None:
    before = [random.Random(number).random() for number in range(50)]
    after = [value + 0.1 * random.Random(-number).random() for number, value in enumerate(before)]
    assert paired_difference(before, after, seed=7) == paired_difference(before, after, seed=7)


def test_where_nothing_changes_nothing_is_found() -> None:
    same = paired_difference([0.5, 2.5, 1.25], [0.5, 2.5, 1.25])
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    certain = paired_difference([True] * 30, [True] * 30)
    assert certain.low < 0.0 < certain.high
    assert certain.p == 1.0


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    generator = random.Random(11)
    held = 0
    for _ in range(400):
        before = [generator.random() < 0.6 for _ in range(80)]
        after = [(value and generator.random() < 0.9) or generator.random() < 0.5 for value in before]
        truth = 0.6 * (0.9 + 0.1 * 0.5) + 0.4 * 0.5 - 0.6
        difference = paired_difference(before, after)
        held += difference.low <= truth <= difference.high
    assert 0.92 <= held / 400 <= 0.985


def test_what_cannot_be_compared_is_refused() -> None:
    for before, after in [([], []), ([1.0], [1.0, 2.0]), ([float("nan")], [0.5])]:
        with pytest.raises(InvalidRequest):
            paired_difference(before, after)
    with pytest.raises(InvalidRequest):
        wilson(3, 2)
    with pytest.raises(InvalidRequest):
        mcnemar(-1, 2)


def test_percentiles_lie_on_a_straight_line_between_neighbours() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 50) == 2.5
    assert percentile([10.0], 95) == 10.0
    assert percentile(list(range(101)), 95) == 95
    with pytest.raises(InvalidRequest):
        percentile([], 50)


def test_importing_the_room_does_not_import_scipy() -> None:
    code = "import sys, tailor.grading; print(sorted({'scipy', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
