"""What `tailor train` says of its files before anything is trained; `tailor data check` says more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tailor.cli.view import View
    from tailor.data import DataReport, Dataset, Problem
    from tailor.data.methods import Part


def read_reports(file: Path, validation: Path | None, method: str) -> list[DataReport]:
    """The report of the training file, then that of the validation file if there is one."""
    from tailor.data import overlap

    train = read(file, method, "training_file")
    if validation is None:
        return [train.report]
    held_out = read(validation, method, "validation_file")
    return [train.report, held_out.report.including(overlap(train, held_out))]


def read(file: Path, method: str, part: Part) -> Dataset[Any]:
    """A file for a training method, checked.

    Raises:
        InvalidRequest: There is no such file or method, or the file cannot be read.
    """
    from tailor.cli.files import opened
    from tailor.data import METHODS, read_for
    from tailor.errors import InvalidRequest

    if method not in METHODS:
        raise InvalidRequest(f"There is no method {method!r}.", remedy=f"There are: {', '.join(METHODS)}.")
    with opened(file) as stream:
        return read_for(method, stream, name=file.name, part=part)


def show_report(view: View, report: DataReport, *, most_advice: int = 100) -> None:
    """The problems as a table, and the sum in one sentence. Blocking ones are never left out."""
    advice = [problem for problem in report.problems if problem.severity == "advice"]
    shown = [*report.blocking, *advice[:most_advice]]
    if shown:
        show_problems(view, shown)
    hidden = report.num_blocking + report.num_advice - len(shown)
    if hidden > 0:
        counts = ", ".join(f"{code} {count}" for code, count in report.counts.items())
        view.say(f"... and {hidden} more; by kind: {counts}", style="dim")
    view.say(f"{'✓' if report.ok else '✗'} {report.summary()}", style="green" if report.ok else "bold red")


def show_problems(view: View, problems: Sequence[Problem]) -> None:
    """Problems as a table: line, place, what, and what to do."""
    view.people.print(_table(problems))


def _table(problems: Sequence[Problem]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tailor.cli.figures import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("line", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("where", overflow="fold", ratio=2)
    table.add_column("what", overflow="fold", ratio=5)
    table.add_column("what to do", overflow="fold", ratio=5)
    for problem in problems:
        is_blocking = problem.severity == "blocking"
        table.add_row(
            str(problem.line or ""),
            Text("blocks" if is_blocking else "advice", style="red" if is_blocking else "yellow"),
            Text(printable(problem.field or "")),
            Text(printable(problem.message)),
            Text(problem.remedy),
        )
    return table
