"""Numbers that remember how they were reckoned: the formula that is shown is the one that was computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Final

from tailor.errors import InvalidRequest

_SUM, _PRODUCT, _ATOM = range(3)
_SIGNIFICANT: Final = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """An exact decimal, in money or not, with the formula behind it.

    `+ - * /` of figures give figures; `named` ends a formula. Sums of different currencies are refused, and
    so are products of money with money.
    """

    name: str
    """What it is; empty in the middle of a formula."""

    value: Decimal
    """Exact, as far as 28 digits go."""

    currency: str = ""
    """Such as USD; empty where it is no money."""

    unit: str = ""
    """What is counted, for people: requests, months."""

    formula: str = ""
    """In words; empty where it was given."""

    numbers: str = ""
    """The same with numbers."""

    parts: tuple[Figure, ...] = ()
    """The named figures in the formula."""

    _rank: int = _ATOM

    def named(self, name: str, unit: str = "") -> Figure:
        """This, as a result with a name."""
        return replace(self, name=name, unit=unit)

    def explain(self) -> str:
        """The formula in words, with its numbers, and the result; then those of its parts that have one."""
        return "\n".join(line for figure in self._worked() for line in figure._lines())

    @property
    def text(self) -> str:
        """For people: USD 12.50, or 555.6 requests."""
        return f"{self._shown()} {self.unit}".rstrip()

    def to_dict(self) -> dict[str, Any]:
        """For programs; the value as text, so that no digit is lost."""
        return {
            "name": self.name,
            "value": f"{self.value:f}",
            "currency": self.currency or None,
            "unit": self.unit or None,
            "text": self.text,
            "explanation": self.explain().split("\n"),
        }

    def __add__(self, other: Figure) -> Figure:
        return self._joined("+", other, self.value + other.value, self._common(other), _SUM)

    def __sub__(self, other: Figure) -> Figure:
        return self._joined("-", other, self.value - other.value, self._common(other), _SUM)

    def __mul__(self, other: Figure | int) -> Figure:
        other = number(other)
        if self.currency and other.currency:
            raise InvalidRequest(f"{self.text} times {other.text} is no money.")
        currency = self.currency or other.currency
        return self._joined("x", other, self.value * other.value, currency, _PRODUCT)

    def __truediv__(self, other: Figure | int) -> Figure:
        other = number(other)
        if other.value == 0:
            raise InvalidRequest(f"{self.name or self.text} cannot be divided by nothing ({other.name}).")
        currency = "" if other.currency and self._common(other) else self.currency
        return self._joined("/", other, self.value / other.value, currency, _PRODUCT)

    def _common(self, other: Figure) -> str:
        if self.currency != other.currency:
            raise InvalidRequest(
                f"{self.text} and {other.text} are not in the same currency.",
                remedy="Give prices of your own in one currency, in a file of prices.",
            )
        return self.currency

    def _joined(self, sign: str, other: Figure, value: Decimal, currency: str, rank: int) -> Figure:
        after = rank + (sign in "-/")
        return Figure(
            name="",
            value=value,
            currency=currency,
            formula=f"{self._term(rank, 'formula')} {sign} {other._term(after, 'formula')}",
            numbers=f"{self._term(rank, 'numbers')} {sign} {other._term(after, 'numbers')}",
            parts=(*self._named_parts(), *other._named_parts()),
            _rank=rank,
        )

    def _term(self, rank: int, kind: str) -> str:
        """How this stands inside a longer formula; in brackets where it binds less."""
        if self.name or not self.formula:
            return self.name if kind == "formula" and self.name else self._shown()
        inside = self.formula if kind == "formula" else self.numbers
        return f"({inside})" if self._rank < rank else inside

    def _named_parts(self) -> tuple[Figure, ...]:
        return (self,) if self.name else self.parts

    def _worked(self) -> Iterator[Figure]:
        seen: dict[str, Figure] = {}
        waiting = [self]
        while waiting:
            figure = waiting.pop(0)
            if figure.formula and figure.name not in seen:
                seen[figure.name] = figure
                waiting.extend(figure.parts)
        yield from seen.values() or [self]

    def _lines(self) -> list[str]:
        if not self.formula:
            return [f"{self.name} = {self.text}"]
        return [f"{self.name} = {self.formula}", f"  = {self.numbers}", f"  = {self.text}"]

    def _shown(self) -> str:
        return f"{self.currency} {_money(self.value)}" if self.currency else _plain(self.value)


def money(name: str, amount: Decimal | int | str, currency: str) -> Figure:
    """An amount that was given."""
    return Figure(name=name, value=Decimal(amount), currency=currency)


def given(name: str, value: Decimal | float | str, unit: str = "") -> Figure:
    """A number that was given; a float as people write it, so 0.1 is a tenth."""
    return Figure(name=name, value=Decimal(str(value)), unit=unit)


def number(value: Figure | int) -> Figure:
    """A number that needs no name, such as the million of a price per million."""
    return value if isinstance(value, Figure) else Figure(name="", value=Decimal(value))


def _money(value: Decimal) -> str:
    """At least cents; below one, four digits that count."""
    if value == 0 or abs(value) >= 1:
        return f"{value:,.2f}"
    return f"{_rounded(value):f}".rstrip("0").ljust(len("0.00") + (value < 0), "0")


def _plain(value: Decimal) -> str:
    if value == value.to_integral_value() or abs(value) >= 10 ** (_SIGNIFICANT - 1):
        return f"{value:,.0f}"
    return f"{_rounded(value):f}".rstrip("0").rstrip(".")


def _rounded(value: Decimal) -> Decimal:
    return round(value, _SIGNIFICANT - 1 - value.adjusted())
