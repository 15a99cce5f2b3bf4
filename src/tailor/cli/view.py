"""What goes where: people read standard output, unless `--json` keeps it for programs."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

from rich.console import Console

_WIDTH_OFF_TERMINAL = 120


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """The two places that a command writes to."""

    people: Console
    """Standard output; standard error with `--json`. Colours only on a terminal, none with NO_COLOR."""

    as_json: bool
    """Whether standard output is for programs."""

    @classmethod
    def open(cls, *, as_json: bool = False) -> View:
        """The view of one run of a command."""
        return cls(people=_console(to_stderr=as_json), as_json=as_json)

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """One line for people, taken as it is: no markup, no wrapping by us."""
        self.people.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """A dim line on standard error: what tailor does by itself, never a result."""
        notes().print(text, style="dim", markup=False, highlight=False, soft_wrap=True)

    def emit(self, value: Any) -> None:
        """The result as JSON, if that was asked for."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False))


def notes() -> Console:
    """Standard error."""
    return _console(to_stderr=True)


def _console(*, to_stderr: bool) -> Console:
    stream = sys.stderr if to_stderr else sys.stdout
    # Off a terminal there is no width to fit: lines for logs and files, not for 80 columns.
    width = None if stream.isatty() else _WIDTH_OFF_TERMINAL
    # Model names hold what would be read as emoji: `ft:base:local:x:...`.
    return Console(stderr=to_stderr, width=width, highlight=False, emoji=False)
