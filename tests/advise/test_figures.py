"""Numbers that remember how they were reckoned."""

from __future__ import annotations

import operator
from decimal import Decimal

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from tailor.advise import Figure, given, money
from tailor.errors import InvalidRequest

AMOUNTS = st.decimals(min_value=0, max_value=10**9, places=4)


def test_a_result_shows_its_formula_with_its_numbers() -> None:
    cost = (given("tokens", 500_000) * money("price of 1M", 25, "USD") / 1_000_000).named("training cost")
    assert cost.explain().split("\n") == [
        "training cost = tokens x price of 1M / 1,000,000",
        "  = 500,000 x USD 25.00 / 1,000,000",
        "  = USD 12.50",
    ]


def test_what_it_is_made_of_is_explained_below_it_and_once() -> None:
    saved = (money("before", 3, "EUR") - money("after", 1, "EUR")).named("saved")
    twice = (saved + saved).named("twice")
    assert twice.explain().split("\n") == [
        "twice = saved + saved",
        "  = EUR 2.00 + EUR 2.00",
        "  = EUR 4.00",
        "saved = before - after",
        "  = EUR 3.00 - EUR 1.00",
        "  = EUR 2.00",
    ]


def test_brackets_stand_where_they_are_needed() -> None:
    a, b, c = given("a", 8), given("b", 2), given("c", 4)
    assert ((a + b) * c).formula == "(a + b) x c"
    assert (a + b * c).formula == "a + b x c"
    assert (a - (b - c)).formula == "a - (b - c)"
    assert (a - (b - c)).value == 10
    assert (a / (b * c)).formula == "a / (b x c)"
    assert (a / (b * c)).value == 1
    assert (a / b / c).formula == "a / b / c"


@over(AMOUNTS, AMOUNTS, AMOUNTS)
def test_the_numbers_shown_give_the_value(one: Decimal, two: Decimal, three: Decimal) -> None:
    figure = (given("one", one) + given("two", two)) * 3 - given("three", three)
    assert figure.value == (one + two) * 3 - three


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "USD 0.00"),
        ("0.0225", "USD 0.0225"),
        ("0.000657534", "USD 0.0006575"),
        ("0.5", "USD 0.50"),
        ("12.4875", "USD 12.49"),
        ("20000", "USD 20,000.00"),
        ("-0.5", "USD -0.50"),
    ],
)
def test_money_is_written_as_people_do(amount: str, text: str) -> None:
    assert money("it", amount, "USD").text == text


def test_currencies_do_not_mix() -> None:
    dollars, euros = money("here", 1, "USD"), money("there", 1, "EUR")
    for combine in (operator.add, operator.sub, operator.truediv):
        with pytest.raises(InvalidRequest, match="same currency"):
            combine(dollars, euros)
    with pytest.raises(InvalidRequest):
        dollars * dollars
    with pytest.raises(InvalidRequest):
        dollars + given("one", 1)
    assert (dollars / money("more", 4, "USD")).currency == ""


def test_nothing_is_divided_by_nothing() -> None:
    with pytest.raises(InvalidRequest, match="requests"):
        money("cost", 1, "USD") / given("requests", 0)


def test_programs_get_every_digit() -> None:
    third: Figure = (money("cost", 1, "USD") / 3).named("a third")
    assert third.to_dict()["value"].startswith("0.3333333333333333333")
    assert third.to_dict()["currency"] == "USD"
