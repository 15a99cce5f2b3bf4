"""What models cost: a catalogue in which every price has a date and a source, and any may be replaced."""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from tailor.advise.figures import Figure, money
from tailor.errors import InvalidRequest, NotFound

OLD_AFTER_DAYS: Final = 90
"""Prices change a few times a year."""

_TEXTS: Final = ("model", "currency", "source", "read")
_AMOUNTS: Final = ("input", "output", "training", "tuned_input", "tuned_output")
_LABELS: Final = {
    "input": "price of 1M tokens read",
    "output": "price of 1M tokens written",
    "training": "price of 1M training tokens",
    "tuned_input": "price of 1M tokens read, tuned",
    "tuned_output": "price of 1M tokens written, tuned",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a model costs, per million tokens. None: not known, or not to be had."""

    model: str
    """As it is called on the wire."""

    currency: str
    """Such as USD."""

    input: Decimal | None = None
    """Tokens read."""

    output: Decimal | None = None
    """Tokens written."""

    training: Decimal | None = None
    """Tokens trained on, counted once per epoch."""

    tuned_input: Decimal | None = None
    """Tokens that a tuned version reads; None: as the base."""

    tuned_output: Decimal | None = None
    """Tokens that a tuned version writes; None: as the base."""

    date: dt.date
    """When it was last compared with the source."""

    source: str
    """Where it is published."""

    read: str = "checked"
    """How it was compared: `listed` in tables that others made of the source, or `assumed`."""

    def figure(self, kind: str) -> Figure:
        """One of its prices, to reckon with; that of a tuned version is the base's unless it has its own.

        Raises:
            InvalidRequest: It is not known.
        """
        amount: Decimal | None = getattr(self, kind)
        if amount is None and kind.startswith("tuned_"):
            return self.figure(kind.removeprefix("tuned_"))
        if amount is None:
            raise InvalidRequest(
                f"The {_LABELS[kind]} of {self.model} is not in the catalogue.",
                param=kind,
                remedy=f'Give it in a file of your own: [[price]] model = "{self.model}", {kind} = ...',
            )
        return money(_LABELS[kind], amount, self.currency)

    def age_days(self, today: dt.date) -> int:
        """Days since it was compared with its source."""
        return (today - self.date).days

    def to_dict(self) -> dict[str, Any]:
        """For programs; amounts as text."""
        amounts = {name: getattr(self, name) for name in _AMOUNTS}
        return {
            "model": self.model,
            "currency": self.currency,
            **{name: None if amount is None else f"{amount:f}" for name, amount in amounts.items()},
            "date": self.date.isoformat(),
            "source": self.source,
            "read": self.read,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Usual:
    """What one of the means costs as a rule: a band to hold an estimate against."""

    means: str
    """prompt, retrieval, fine-tuning or distillation."""

    currency: str
    """Such as USD."""

    setup: tuple[Decimal, Decimal] | None = None
    """Once, with what goes wrong on the way."""

    training: tuple[Decimal, Decimal] | None = None
    """Once, for the training alone."""

    query: Decimal | None = None
    """Each request."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Prices by model, and what the means cost as a rule."""

    prices: Mapping[str, Price]
    """By name."""

    usual: Mapping[str, Usual]
    """By means."""

    def price(self, model: str) -> Price:
        """What a model costs; a dated name, or one of a tuned version, counts as its base.

        Raises:
            NotFound: It is not in the catalogue.
        """
        name = model.split(":")[1] if model.startswith("ft:") and model.count(":") else model
        for candidate in (name, re.sub(r"-\d{4}-\d{2}-\d{2}$", "", name)):
            if candidate in self.prices:
                return self.prices[candidate]
        raise NotFound(
            f"There is no price of {model[:80]!r}; there are prices of {', '.join(sorted(self.prices))}.",
            param="model",
            remedy="Give one in a file of your own, or the price and speed of your device.",
        )

    def doubts(self, models: list[str], today: dt.date) -> list[str]:
        """What to know about the prices of models before one believes a sum of them."""
        found = []
        for price in {price.model: price for price in map(self.price, models)}.values():
            age = price.age_days(today)
            if age > OLD_AFTER_DAYS:
                found.append(
                    f"The prices of {price.model} are of {price.date}, {age} days ago: check {price.source}."
                )
            elif price.read != "checked":
                found.append(
                    f"The prices of {price.model} ({price.date}) are {price.read}, not read at the source: "
                    f"check {price.source}."
                )
        return found


def load_catalogue(*overrides: Path) -> Catalogue:
    """The catalogue of the package; each further file replaces rows of the same model.

    Raises:
        InvalidRequest: A file that cannot be read, or a row that is not right.
    """
    text = (files("tailor.advise") / "prices.toml").read_text(encoding="utf-8")
    prices, usual = _parsed(text, "prices.toml")
    for path in overrides:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidRequest(f"{path} cannot be read: {error}.") from error
        more_prices, more_usual = _parsed(text, str(path))
        prices, usual = prices | more_prices, usual | more_usual
    return Catalogue(prices=prices, usual=usual)


def _parsed(text: str, name: str) -> tuple[dict[str, Price], dict[str, Usual]]:
    try:
        rows = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"{name} is no TOML: {error}.") from error
    for kind in rows:
        if kind not in ("price", "usual") or not isinstance(rows[kind], list):
            raise InvalidRequest(f"{name} has {kind!r}; a file of prices has [[price]] and [[usual]].")
    prices = [_price(row, f"{name}, price {place}") for place, row in enumerate(rows.get("price", []), 1)]
    usual = [_usual(row, f"{name}, usual {place}") for place, row in enumerate(rows.get("usual", []), 1)]
    return {price.model: price for price in prices}, {band.means: band for band in usual}


def _price(row: dict[str, Any], where: str) -> Price:
    _check_keys(row, Price, needed=("model", "currency", "date", "source"), where=where)
    for name in _TEXTS:
        if not isinstance(row.get(name, "-"), str):
            raise InvalidRequest(f"{where}: {name} is no text.", param=name)
    if type(row["date"]) is not dt.date:
        raise InvalidRequest(f"{where}: date is no date.", param="date", remedy="Write 2026-11-20.")
    found: dict[str, Any] = dict(row)
    for name in _AMOUNTS:
        if name in row:
            found[name] = _amount(row[name], f"{where}: {name}")
    return Price(**found)


def _usual(row: dict[str, Any], where: str) -> Usual:
    _check_keys(row, Usual, needed=("means", "currency"), where=where)
    found = dict(row)
    for name in ("setup", "training"):
        if name in row:
            if not isinstance(row[name], list) or len(row[name]) != 2:
                raise InvalidRequest(f"{where}: {name} is no band.", param=name, remedy="Write [10, 1000].")
            found[name] = tuple(_amount(part, f"{where}: {name}") for part in row[name])
    if "query" in row:
        found["query"] = _amount(row["query"], f"{where}: query")
    return Usual(**found)


def _check_keys(row: Any, kind: type[Price | Usual], *, needed: tuple[str, ...], where: str) -> None:
    if not isinstance(row, dict):
        raise InvalidRequest(f"{where} is no table.")
    known = {field.name for field in fields(kind)}
    for name in sorted(row.keys() - known):
        raise InvalidRequest(f"{where} has {name!r}; there are {', '.join(sorted(known))}.", param=name)
    for name in needed:
        if name not in row:
            raise InvalidRequest(
                f"{where} has no {name}.", param=name, remedy="A price has a date and a source."
            )


def _amount(value: Any, where: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise InvalidRequest(f"{where} is no amount.", remedy="Write a number, such as 0.15.")
    amount = Decimal(value)
    if not amount.is_finite() or amount < 0:
        raise InvalidRequest(f"{where} is {amount}; a price is not negative.")
    return amount
