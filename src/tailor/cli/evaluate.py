"""`tailor eval MODEL CASES`: how many cases a model passes, and whether that beats its base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tailor.cli.view import View
    from tailor.client import Contest, Endpoint, Graded, Score
    from tailor.data import Case

_SHOWN = 10


def evaluate(
    model: Annotated[str, typer.Argument(help="The model to judge.", metavar="MODEL")],
    file: Annotated[
        Path,
        typer.Argument(
            help="JSONL with `messages` and `expected_patterns` or `reference`, or training rows.",
            metavar="CASES",
        ),
    ],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="MODEL", help="Compare with it, or `none` (default: its base)."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only the first N cases.")
    ] = None,
    at_least: Annotated[
        float | None,
        typer.Option(
            "--at-least", metavar="X", min=0.0, max=1.0, help="Exit with 1 when the pass rate is below this."
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="Longest answer.")
    ] = 256,
    concurrency: Annotated[
        int, typer.Option("--concurrency", metavar="N", min=1, max=64, help="Cases asked at once.")
    ] = 8,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Run cases through a model, and through its base to compare.

    A case passes when all its `expected_patterns` occur, in any case, or when the answer is its `reference`.
    """
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Contest

    view = View.open(as_json=as_json)
    cases = _read(view, file)[:limit]
    with connect(view, home) as connection:
        endpoint = connection.endpoint
        other = _opponent(endpoint, model, against)
        score = _run(view, endpoint, model, cases, max_tokens=max_tokens, concurrency=concurrency)
        contest = None
        if other is not None:
            base = _run(view, endpoint, other, cases, max_tokens=max_tokens, concurrency=concurrency)
            contest = Contest(model=score, against=base)
    view.emit(score.to_dict() | {"comparison": contest and contest.to_dict()})
    if not as_json:
        _show(view, score, contest)
    if at_least is not None and score.pass_rate < at_least:
        view.say(f"✗ The pass rate is below {at_least:.1%}.", style="bold red")
        raise typer.Exit(1)


def _read(view: View, file: Path) -> tuple[Case, ...]:
    from tailor.cli.check import show_report
    from tailor.cli.files import opened
    from tailor.data import read_cases

    with opened(file) as stream:
        cases = read_cases(stream, name=file.name)
    if not cases.report.ok:
        show_report(view, cases.report)
        view.emit({"ok": False, "files": [cases.report.to_dict()]})
        raise typer.Exit(1)
    return cases.cases


def _opponent(endpoint: Endpoint, model: str, against: str | None) -> str | None:
    """The model to compare with: the one named, or the base of a tuned model; None for no comparison."""
    from tailor.protocol import VersionName

    if against is not None:
        return None if against == "none" else against
    known = endpoint.model(model)
    base = known.tailor.get("base") if known.tailor else None
    if base is None:
        name = VersionName.parse(model)
        base = name.base if name else None
    return base if base != model else None


def _run(
    view: View, endpoint: Endpoint, model: str, cases: Sequence[Case], *, max_tokens: int, concurrency: int
) -> Score:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tailor.cli.view import notes
    from tailor.client import run_cases

    console = notes()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(model, total=len(cases))
        return run_cases(
            endpoint,
            model,
            cases,
            concurrency=concurrency,
            max_tokens=max_tokens,
            on_done=lambda: progress.advance(task),
        )


def _show(view: View, score: Score, contest: Contest | None) -> None:
    from rich import box
    from rich.table import Table

    table = Table(
        "model", "total", "passed", "failed", "pass rate", "p50 / p95", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for row in (score, contest.against) if contest else (score,):
        table.add_row(*_row(row))
    view.people.print(table)
    if contest is None:
        for case in score.failures[:_SHOWN]:
            _show_case(view, "failed", case, None)
        return
    _show_contest(view, contest)


def _row(score: Score) -> tuple[str, ...]:
    from tailor.cli.figures import percent

    low, high = score.interval.low, score.interval.high
    return (
        score.model,
        str(score.total),
        str(score.passed),
        str(score.total - score.passed),
        f"{percent(score.pass_rate)} ({low * 100:.1f} to {high * 100:.1f})",
        f"{score.latency_ms(50):.0f} / {score.latency_ms(95):.0f} ms",
    )


def _show_contest(view: View, contest: Contest) -> None:
    from tailor.cli.figures import p_value

    difference = contest.difference
    view.say(
        f"difference: {difference.mean * 100:+.1f} points "
        f"(95 %: {difference.low * 100:+.1f} to {difference.high * 100:+.1f}), "
        f"{p_value(difference.p)} ({difference.method})"
    )
    outcomes = contest.outcomes
    view.say(", ".join(f"{name} {outcomes.count(name)}" for name in ("fixed", "broken", "unchanged")))
    for new, old in contest.changed("broken")[:_SHOWN]:
        _show_case(view, "broken", new, old)
    for new, old in contest.changed("fixed")[:3]:
        _show_case(view, "fixed", new, old)


def _show_case(view: View, outcome: str, case: Graded, other: Graded | None) -> None:
    from tailor.cli.figures import printable, shortened

    expected = case.expected if isinstance(case.expected, str) else " + ".join(case.expected)
    view.say()
    view.say(
        f"{outcome} (line {case.line}): {shortened(printable(case.input), most=90)}",
        style="green" if outcome == "fixed" else "red",
    )
    view.say(f"  wanted  {shortened(printable(expected), most=100)}")
    view.say(f"  got     {shortened(printable(case.actual), most=100)}")
    if other is not None:
        view.say(f"  before  {shortened(printable(other.actual), most=100)}")
