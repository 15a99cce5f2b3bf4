"""Similarity of texts, against the reference libraries' values, which similarity.json holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailor.grading._porter import stem
from tailor.grading.similarity import METRICS, cosine, similarity

CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("similarity.json").read_text())["cases"]
STEMS: dict[str, str] = json.loads(Path(__file__).with_name("stems.json").read_text())


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_gives_what_its_reference_library_gives(metric: str) -> None:
    assert len(CASES) == 40
    for case in CASES:
        ours = similarity(metric, case["a"], case["b"])
        assert ours == pytest.approx(case["scores"][metric], abs=1e-9), case


def test_stems_are_those_of_the_paper() -> None:
    assert {word: stem(word) for word in STEMS} == STEMS


def test_meteor_by_hand() -> None:
    # 5 words match, "mats" by its stem, in 3 runs: "the cat sat", "on", "mats".
    precision, recall = 5 / 6, 5 / 7
    mean = 10 * precision * recall / (recall + 9 * precision)
    found = similarity("meteor", "the cat sat on mats today", "the cat sat quietly on a mat")
    assert found == pytest.approx(mean * (1 - 0.5 * (3 / 5) ** 3))


def test_rouge_by_hand() -> None:
    assert similarity("rouge_1", "a b c d", "a b x") == pytest.approx(2 * 2 / 7)
    assert similarity("rouge_2", "a b c d", "a b x") == pytest.approx(2 * 1 / 5)
    assert similarity("rouge_l", "a b c d", "a c x d") == pytest.approx(2 * 3 / 8)


def test_other_scripts_count_as_words() -> None:
    assert similarity("rouge_1", "Привет, мир!", "привет мир") == 1
    assert similarity("rouge_l", "你好 世界", "你好 世界") == 1


def test_cosine_is_that_of_the_angle() -> None:
    assert cosine([1, 0], [1, 1]) == pytest.approx(2**-0.5)
    assert cosine([0, 0], [1, 1]) == 0
    assert cosine([1, 2], [-1, -2]) == pytest.approx(-1)


@pytest.mark.parametrize("metric", METRICS)
@given(text=st.text(max_size=40), other=st.text(max_size=40))
def test_every_value_lies_between_nought_and_one(metric: str, text: str, other: str) -> None:
    assert 0 <= similarity(metric, text, other) <= 1


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_text_is_alike_and_another_is_not(metric: str) -> None:
    text = "The quick brown fox jumps over the lazy dog again and again"
    assert similarity(metric, text, text) == pytest.approx(1, abs=1e-3)
    assert similarity(metric, "xyz", text) < 0.2
