"""`tailor doctor`: what this machine has, what is missing, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from rich.table import Table

    from tailor.cli.machine import Finding

_MARKS = {"ok": ("✓", "green"), "advice": ("!", "yellow"), "missing": ("✗", "red")}


def doctor(home: Home = None, as_json: Json = False) -> None:
    """Say what this machine has and what is missing.

    Exit code 1 when something needed is missing.
    """
    from dataclasses import asdict

    from tailor.cli.machine import examine
    from tailor.cli.options import home_of
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    findings = examine(home_of(home))
    ok = all(finding.state != "missing" for finding in findings)
    view.emit({"ok": ok, "findings": [asdict(finding) for finding in findings]})
    if not as_json:
        view.people.print(_table(findings))
        view.say(
            "✓ This machine can train and serve." if ok else "✗ Something needed is missing.",
            style="green" if ok else "bold red",
        )
    if not ok:
        raise typer.Exit(1)


def _table(findings: list[Finding]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.state]
        detail = Text(finding.detail)
        if finding.remedy:
            detail.append(f"\n{finding.remedy}", style=style)
        table.add_row(Text(mark, style=style), finding.name, detail)
    return table
