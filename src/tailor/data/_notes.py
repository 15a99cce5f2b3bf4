"""Where the checks of one line write down what they find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tailor.data.problems import Problem

_KINDS: Final = {
    type(None): "null",
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}


class Notes:
    """The problems of one line, handed on as they are found."""

    def __init__(self, line: int, report: Callable[[Problem], None]) -> None:
        self.line = line
        self.blocked = False
        self._report = report

    def block(self, code: str, field: str | None, message: str, *, remedy: str) -> None:
        """Note something that keeps this line from being used."""
        self.blocked = True
        self._report(Problem(line=self.line, code=code, message=message, field=field, remedy=remedy))

    def take(self, problem: Problem) -> None:
        """Note what the check of a part of this line has found."""
        self.blocked = self.blocked or problem.severity == "blocking"
        self._report(problem)

    def wrong_type(self, field: str, value: object, wanted: str) -> None:
        """Note a value of another kind than the format asks for."""
        self.block(
            "wrong_type",
            field,
            f"this is {kind_of(value)}, not {wanted}.",
            remedy=f"Make it {wanted}, or leave it out.",
        )


def kind_of(value: Any) -> str:
    """The JSON kind of a value, in words."""
    return _KINDS[type(value)]
