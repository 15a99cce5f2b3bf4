"""The catalogue of prices."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from tailor.advise import load_catalogue
from tailor.errors import InvalidRequest, NotFound

OWN = """
[[price]]
model = "gpt-4o"
currency = "EUR"
input = 2
output = 8.5
date = 2026-11-01
source = "our contract"

[[price]]
model = "house-7b"
currency = "EUR"
input = 0.05
date = 2026-11-01
source = "finance"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(OWN)
    return path


@pytest.mark.parametrize(
    ("model", "kind", "amount"),
    [
        ("gpt-4o-mini", "input", "0.15"),
        ("gpt-4o-mini", "output", "0.60"),
        ("gpt-4o-mini", "training", "3.00"),
        ("gpt-4o", "input", "2.50"),
        ("gpt-4o", "output", "10"),
        ("gpt-4o", "training", "25"),
        ("gpt-4.1-mini", "input", "0.40"),
        ("gpt-4.1-mini", "tuned_input", "0.80"),
        ("gpt-5", "input", "1.25"),
        ("distilled-small", "input", "0.10"),
    ],
)
def test_the_seeds_are_those_of_the_mission(model: str, kind: str, amount: str) -> None:
    assert load_catalogue().price(model).figure(kind).value == Decimal(amount)


def test_every_price_has_a_date_and_a_source() -> None:
    for price in load_catalogue().prices.values():
        assert price.date >= date(2026, 11, 20)
        assert price.source
        assert price.currency == "USD"


def test_what_the_means_cost_as_a_rule() -> None:
    usual = load_catalogue().usual
    assert usual["prompt"].setup == (Decimal(0), Decimal(0))
    assert usual["retrieval"].query == Decimal("0.01")
    assert usual["fine-tuning"].setup == (Decimal(10), Decimal(1_000))
    assert usual["distillation"].training == (Decimal(50), Decimal(500))
    assert usual["distillation"].setup == (Decimal(100), Decimal(1_000))


def test_a_file_of_ones_own_replaces_and_adds(own: Path) -> None:
    catalogue = load_catalogue(own)
    assert catalogue.price("gpt-4o").figure("input").text == "EUR 2.00"
    assert catalogue.price("gpt-4o").training is None
    assert catalogue.price("house-7b").input == Decimal("0.05")
    assert catalogue.price("gpt-4o-mini").currency == "USD"


def test_dated_and_tuned_names_count_as_their_base() -> None:
    catalogue = load_catalogue()
    for name in ("gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:acme::abc", "ft:gpt-4o-mini:acme::abc"):
        assert catalogue.price(name).model == "gpt-4o-mini"


def test_a_tuned_version_costs_what_its_base_does_unless_it_has_a_price() -> None:
    catalogue = load_catalogue()
    assert catalogue.price("gpt-4o").figure("tuned_input").value == Decimal("3.75")
    assert catalogue.price("gpt-5").figure("tuned_input").value == Decimal("1.25")


def test_old_prices_are_warned_about(own: Path) -> None:
    catalogue = load_catalogue(own)
    assert catalogue.doubts(["house-7b"], date(2026, 11, 20)) == []
    [doubt] = catalogue.doubts(["house-7b", "house-7b"], date(2027, 3, 1))
    assert doubt == "The prices of house-7b are of 2026-11-01, 120 days ago: check finance."
    assert "not read at the source" in catalogue.doubts(["gpt-4o-mini"], date(2026, 11, 20))[0]


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match="gpt-4o-mini"):
        load_catalogue().price("nobody-1")
    with pytest.raises(InvalidRequest, match=r"training tokens of gpt-5") as caught:
        load_catalogue().price("gpt-5").figure("training")
    assert "[[price]]" in str(caught.value.remedy)


ROW = 'model = "m"\ncurrency = "USD"\ndate = 2026-11-01\nsource = "s"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[price]", "no TOML"),
        ("[[cost]]", "'cost'"),
        ("price = 3", "'price'"),
        ("price = [3]", "no table"),
        (f"[[price]]\n{ROW}inptu = 1", "'inptu'"),
        ("[[price]]\n" + ROW.replace('source = "s"\n', ""), "no source"),
        ("[[price]]\n" + ROW.replace("2026-11-01", '"today"'), "no date"),
        (f"[[price]]\n{ROW}input = -1", "not negative"),
        (f"[[price]]\n{ROW}input = nan", "not negative"),
        (f'[[price]]\n{ROW}input = "free"', "no amount"),
        ('[[usual]]\nmeans = "x"\ncurrency = "USD"\nsetup = 3', "no band"),
        ("[[price]]\n" + ROW.replace('"m"', "3"), "no text"),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(InvalidRequest) as caught:
        load_catalogue(path)
    assert told in caught.value.message
    assert "own.toml" in caught.value.message


def test_a_missing_file_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot be read"):
        load_catalogue(tmp_path / "absent.toml")
