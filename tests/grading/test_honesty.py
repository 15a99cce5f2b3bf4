"""A small sample of benchmarks/honesty.py: what is claimed of nothing, and what is found of something."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tailor.grading import minimum_detectable, no_worse, paired_difference, paired_differences, wilson

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "honesty.py"


@pytest.fixture(scope="module")
def honesty() -> ModuleType:
    spec = importlib.util.spec_from_file_location("honesty", BENCHMARK)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_model_is_seldom_better_than_itself(honesty: ModuleType) -> None:
    random = np.random.default_rng(1)
    found = [paired_difference(*honesty.same_model(random, 120)) for _ in range(1_000)]
    better = wilson(sum(map(honesty.is_better, found)), len(found))
    either = wilson(sum(map(honesty.is_claim, found)), len(found))
    assert better.high < 0.05
    assert either.low < 0.05 and either.high < 0.07


def test_the_best_of_eight_is_seldom_better_than_itself(honesty: ModuleType) -> None:
    random = np.random.default_rng(2)
    false = 0
    for _ in range(200):
        before, *arms = honesty.same_model(random, 150, 8)
        found = paired_differences(before, dict(zip("abcdefgh", arms, strict=True)))
        false += any(map(honesty.is_claim, found.values()))
    assert wilson(false, 200).low < 0.05
    assert false / 200 < 0.07


@pytest.mark.parametrize(("items", "discordance"), [(120, 0.1), (300, 0.25)])
def test_differences_of_the_stated_size_are_found(
    honesty: ModuleType, items: int, discordance: float
) -> None:
    stated = minimum_detectable(items, discordance=discordance).difference
    random = np.random.default_rng(3)
    found = sum(
        honesty.is_better(paired_difference(*honesty.pairs(random, items, stated, discordance)))
        for _ in range(1_000)
    )
    assert wilson(found, 1_000).high > 0.8
    assert found / 1_000 > 0.77


def test_what_is_worse_by_the_margin_seldom_passes(honesty: ModuleType) -> None:
    random = np.random.default_rng(4)
    passed = sum(
        no_worse(*honesty.pairs(random, 100, -0.05, 0.1), margin=0.05).verdict == "no worse"
        for _ in range(200)
    )
    assert passed <= 10
