"""`tailor cost`: before anything is started."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from tailor.cli.cost import per_month
from tailor.errors import InvalidRequest
from tests.cli.conftest import Tailor, mail, write_rows


@pytest.fixture
def train(tmp_path: Path) -> Path:
    rows = [mail(f"where is my parcel with the number {number:04}?", "order") for number in range(100)]
    return write_rows(tmp_path / "train.jsonl", rows)


def test_costs_are_shown_with_their_formulas(tailor: Tailor, train: Path) -> None:
    result = tailor("cost", train, "--model", "gpt-4o-mini", "--prompt-tokens", "1500", "--volume", "50k")
    assert result.exit_code == 0, result.stderr
    for row in ("Training cost", "1,000 requests today", "Break-even", "A month, tuned", "Payback"):
        assert row in result.stdout
    assert (
        "training cost = tokens of the file x epochs x price of 1M training tokens / 1,000,000"
        in result.stdout
    )
    assert "counted with estimate: characters / 4" in result.stdout
    assert "developers.openai.com" in result.stdout


def test_json_has_the_same_and_nothing_else(tailor: Tailor, train: Path) -> None:
    result = tailor(
        "cost", train, "--model", "gpt-4o-mini", "--prompt-tokens", "1500", "--epochs", "2", "--json"
    )
    found = json.loads(result.stdout)
    assert found["examples"] == 100
    training = Decimal(found["training"]["value"])
    assert training == Decimal(found["tokens"]) * 2 * 3 / 1_000_000
    assert Decimal(found["break_even"]["value"]) == pytest.approx(
        training / Decimal(found["saving"]["value"])
    )
    assert found["payback"] is None


def test_a_device_of_ones_own(tailor: Tailor, train: Path) -> None:
    result = tailor(
        *("cost", train, "--model", "gpt-4o", "--volume", "1M/day", "--brief"),
        *("--tokens-per-second", "20000", "--training-tokens-per-second", "5000"),
        *("--device-price", "26280/3years", "--power-watts", "500", "--price-per-kwh", "0.40"),
    )
    assert result.exit_code == 0, result.stderr
    assert "1M tokens on the device, fully used" in result.stdout
    assert "USD 876.00" in result.stdout  # a device that is always on: 730 hours at 1.20
    assert "Cheaper from" in result.stdout
    assert "counted with the shipped base" in result.stdout
    assert " x " not in result.stdout


def test_without_a_file_the_prices_are_listed(tailor: Tailor, tmp_path: Path) -> None:
    result = tailor("cost", "--json")
    assert {"gpt-4o-mini", "gpt-5"} <= {price["model"] for price in json.loads(result.stdout)["prices"]}
    assert "2026-11-20" in tailor("cost").stdout
    home = tmp_path / "home"
    home.mkdir()
    own = '[[price]]\nmodel = "house"\ncurrency = "EUR"\ninput = 1\ndate = 2026-11-01\nsource = "us"\n'
    (home / "prices.toml").write_text(own)
    assert "house" in tailor("cost").stdout


def test_mistakes_are_answered_in_a_sentence(tailor: Tailor, train: Path, tmp_path: Path) -> None:
    empty = write_rows(tmp_path / "empty.jsonl", [{"messages": []}])
    for arguments, told in [
        ((train,), "Which model"),
        ((train, "--model", "nobody-1"), "no price"),
        ((train, "--model", "gpt-4o", "--volume", "many"), "--volume"),
        ((train, "--model", "gpt-4o", "--device-price", "2"), "How fast"),
        (
            (train, "--model", "gpt-4o", "--device-price", "2/week", "--tokens-per-second", "9"),
            "--device-price",
        ),
        ((train, "--model", "gpt-4o", "--setup-cost", "-3"), "--setup-cost"),
        ((empty, "--model", "gpt-4o"), "no sound example"),
        ((train, "--model", "gpt-4o", "--prices", tmp_path / "absent.toml"), "cannot be read"),
    ]:
        result = tailor("cost", *arguments)
        assert result.exit_code == 2, (arguments, result.output)
        assert told in result.stderr


@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ("30000/month", 30_000),
        ("50k", 50_000),
        ("1,000", 1_000),
        ("12M/year", 1_000_000),
        ("2.5k / month", 2_500),
    ],
)
def test_volumes_are_read_as_people_write_them(text: str, requests: int) -> None:
    assert per_month(text) == requests
    assert round(per_month("1M/day")) == 30_416_667
    with pytest.raises(InvalidRequest):
        per_month("1.2.3")
