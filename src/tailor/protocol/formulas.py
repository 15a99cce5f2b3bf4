"""The formula of a multi grader, such as `0.7 * exact + 0.3 * max(style, 0.5) ^ 2`.

Numbers, names of graders, `+ - * / ^` with the usual precedence (`^` binds tightest and to the right),
brackets and eight functions. A value that mathematics does not define is an error, never infinity.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

MAX_CHARACTERS: Final = 4096
_MAX_DEPTH: Final = 48
_TOKEN: Final = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(\*\*|.))"
)

FUNCTIONS: Final[Mapping[str, tuple[Callable[..., float], int | None]]] = {
    "min": (min, None),
    "max": (max, None),
    "abs": (abs, 1),
    "floor": (math.floor, 1),
    "ceil": (math.ceil, 1),
    "round": (round, 1),
    "exp": (math.exp, 1),
    "sqrt": (math.sqrt, 1),
    "log": (math.log, 1),
}
"""Name to function and number of arguments; None is one or more. `log` is natural, `round` to even."""

Node = Callable[[Mapping[str, float]], float]


class FormulaError(ValueError):
    """The text is no formula, or its value is not defined."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Formula:
    """A formula that has been read."""

    names: frozenset[str]
    """The variables in it."""

    node: Node

    def value(self, variables: Mapping[str, float]) -> float:
        """Its value, always finite.

        Raises:
            FormulaError: division by zero, a root or logarithm of what has none, overflow, or a variable
                that is not given.
        """
        missing = sorted(self.names - variables.keys())
        if missing:
            raise FormulaError(f"there is no value for {', '.join(missing)}")
        try:
            value = self.node(variables)
        except ZeroDivisionError:
            raise FormulaError("division by zero") from None
        except OverflowError:
            raise FormulaError("the value is too large") from None
        except (ValueError, TypeError):
            raise FormulaError("a root, power or logarithm of a number that has none") from None
        if isinstance(value, complex) or not math.isfinite(value):
            raise FormulaError("the value is not a finite number")
        return float(value)


def parse_formula(text: str) -> Formula:
    """Read a formula; raises FormulaError saying at which character it stops making sense."""
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"the formula has {len(text):,} characters; {MAX_CHARACTERS:,} are allowed")
    reader = _Reader(text.strip())
    node = reader.sum()
    if reader.kind:
        raise reader.error("an operator or the end")
    return Formula(names=frozenset(reader.names), node=node)


class _Reader:
    """Recursive descent over one token of look-ahead."""

    def __init__(self, text: str) -> None:
        self._source = text
        self._position = 0
        self._depth = 0
        self.names: set[str] = set()
        self.kind = self.text = ""
        self._advance()

    def error(self, expected: str) -> FormulaError:
        """What should have stood here."""
        found = f"'{self.text}'" if self.kind else "the end"
        place = self._position - len(self.text) + 1
        return FormulaError(f"expected {expected} but found {found} at character {place}")

    def sum(self) -> Node:
        """Terms with + and - between them."""
        terms = [(1.0, self._product())]
        while self.text in ("+", "-"):
            sign = 1.0 if self._advance() == "+" else -1.0
            terms.append((sign, self._product()))
        if len(terms) == 1:
            return terms[0][1]
        return lambda variables: math.fsum(sign * node(variables) for sign, node in terms)

    def _product(self) -> Node:
        factors = [("*", self._signed())]
        while self.text in ("*", "/"):
            factors.append((self._advance(), self._signed()))
        if len(factors) == 1:
            return factors[0][1]

        def multiply(variables: Mapping[str, float]) -> float:
            value = 1.0
            for operator, node in factors:
                value = value * node(variables) if operator == "*" else value / node(variables)
            return value

        return multiply

    def _signed(self) -> Node:
        is_negative = False
        while self.text in ("+", "-"):
            is_negative ^= self._advance() == "-"
        node = self._power()
        return (lambda variables: -node(variables)) if is_negative else node

    def _power(self) -> Node:
        base = self._deeper(self._atom)
        if self.text not in ("^", "**"):
            return base
        self._advance()
        exponent = self._deeper(self._signed)
        return lambda variables: float(base(variables)) ** exponent(variables)

    def _atom(self) -> Node:
        if self.kind == "number":
            number = float(self._advance())
            return lambda variables: number
        if self.kind == "name":
            name = self._advance()
            if self.text == "(":
                return self._call(name)
            self.names.add(name)
            return lambda variables: variables[name]
        if self.text == "(":
            self._advance()
            node = self.sum()
            self._close()
            return node
        raise self.error("a number, a name or '('")

    def _call(self, name: str) -> Node:
        if name not in FUNCTIONS:
            raise FormulaError(f"there is no function {name}; there are {', '.join(FUNCTIONS)}")
        function, num_arguments = FUNCTIONS[name]
        self._advance()
        arguments = [self.sum()]
        while self.text == ",":
            self._advance()
            arguments.append(self.sum())
        self._close()
        if num_arguments is not None and len(arguments) != num_arguments:
            raise FormulaError(f"{name} takes one argument, not {len(arguments)}")
        if len(arguments) == 1:
            only = arguments[0]
            one = float if num_arguments is None else function
            return lambda variables: one(only(variables))
        return lambda variables: function(*(node(variables) for node in arguments))

    def _close(self) -> None:
        if self.text != ")":
            raise self.error("')'")
        self._advance()

    def _deeper(self, read: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise FormulaError(f"brackets and powers are nested more than {_MAX_DEPTH} deep")
        node = read()
        self._depth -= 1
        return node

    def _advance(self) -> str:
        """The present token; the next one becomes present."""
        taken = self.text
        found = _TOKEN.match(self._source, self._position)
        if found is None:
            self.kind = self.text = ""
            return taken
        self._position = found.end()
        kinds = zip(("number", "name", "sign"), found.groups(), strict=True)
        self.kind, self.text = next((kind, text) for kind, text in kinds if text is not None)
        return taken
