"""The formula of a multi grader: arithmetic, and nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailor.protocol.formulas import FormulaError, parse_formula

SCORES = {"a": 2.0, "b": 0.5, "zero": 0.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a", 2),
        ("0.7 * a + 0.3 * b", 1.55),
        ("-2 ^ 2", -4),
        ("2 ^ 3 ^ 2", 512),
        ("2 ** -1", 0.5),
        ("1 - 2 - 3", -4),
        ("8 / 4 / 2", 1),
        ("2 * -3", -6),
        ("--2", 2),
        ("(1 + 2) * 3", 9),
        (".5 + 1e2 + 2.", 102.5),
        ("min(3, a, 2.5) + max(b)", 2.5),
        ("min(a)", 2),
        ("abs(-3) + floor(1.7) + ceil(1.2) + round(2.5)", 8),
        ("sqrt(16) + exp(0) + log(1)", 5),
        ("max(0, min(1, a)) ^ 2", 1),
        ("1" + " + 1" * 1000, 1001),
        ("-" * 4000 + "1", 1),
        ("0.1 + 0.2 - 0.3", math.fsum([0.1, 0.2, -0.3])),
    ],
)
def test_a_formula_has_the_value_that_mathematics_gives_it(text: str, value: float) -> None:
    assert parse_formula(text).value(SCORES) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a / zero", "division by zero"),
        ("0 ^ -1", "division by zero"),
        ("log(zero)", "logarithm"),
        ("sqrt(-1)", "root"),
        ("(-8) ^ (1/3)", "finite"),
        ("exp(1000)", "too large"),
        ("9 ^ 9 ^ 9 ^ 9", "too large"),
        ("1e308 * 10", "finite"),
        ("1e308 * 10 - 1e308 * 10", "finite|root"),
        ("c", "no value for c"),
    ],
)
def test_what_mathematics_does_not_define_is_an_error(text: str, told: str) -> None:
    with pytest.raises(FormulaError, match=told):
        parse_formula(text).value(SCORES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the end at character 1"),
        ("1 +", "the end at character 4"),
        ("1 2", "found '2' at character 3"),
        ("a b", "operator"),
        ("a.b", "found '.'"),
        ("min()", r"found '\)'"),
        ("(((1)", r"expected '\)'"),
        ("abs(1, 2)", "one argument"),
        ("__import__('os')", "no function __import__"),
        ("a if b else 1", "operator"),
        ("lambda: 1", "operator"),
        ("a == b", "operator"),
        ("[1]", "number"),
        ("(" * 100 + "1" + ")" * 100, "48 deep"),
        ("2 ^ " * 100 + "2", "48 deep"),
        ("1" * 5000, "4,096"),
    ],
)
def test_what_is_no_formula_is_refused_with_the_place(text: str, told: str) -> None:
    with pytest.raises(FormulaError, match=told):
        parse_formula(text)


def test_a_formula_knows_its_variables() -> None:
    assert parse_formula("max(a, b) * a + 1").names == {"a", "b"}


@given(st.text(alphabet="ab01.+-*/^(), minexp", max_size=40))
def test_any_text_has_a_finite_value_or_is_refused(text: str) -> None:
    try:
        value = parse_formula(text).value(SCORES)
    except FormulaError:
        return
    assert math.isfinite(value)
