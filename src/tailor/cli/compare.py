"""`tailor compare A B ...`: any number of models on the same items, and which fixed or broke what."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from rich.table import Table

    from tailor.cli.view import View
    from tailor.client import Endpoint, Registry
    from tailor.protocol.comparisons import ComparedPair, Comparison

_SHOWN = 8


def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            help="Versions, bases or aliases; the first is what the others are held against.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FILE",
            help="Cases, or rows of a training file (default: what the first version was proven on).",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, help="Only N items, chosen by their content.")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", metavar="N", min=1, help="Longest answer.")
    ] = 256,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page, too.")] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Have models answer the same items: who is better, by how much, and whether chance could have done it.

    The server asks and judges, so a comparison goes on if this command is stopped, and `tailor promote` can
    go by it.
    """
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        registry = Registry(connection.endpoint)
        file = upload_cases(connection.endpoint, data) if data is not None else None
        names = [registry.full_name(model) for model in models]
        found = run_comparison(view, registry, names, file=file, limit=limit, max_tokens=max_tokens)
        if html is not None:
            html.write_text(registry.comparison_page(found.id), encoding="utf-8")
    view.emit(found.model_dump(mode="json"))
    if not as_json:
        show_comparison(view, found)
        if html is not None:
            view.say(f"Page: {html}")
    if found.status != "completed":
        raise typer.Exit(1)


def upload_cases(endpoint: Endpoint, file: Path) -> str:
    """Send a file of cases; its id. What is wrong in it the server says, line by line."""
    from tailor.cli.files import opened

    with opened(file):
        return endpoint.upload(file, purpose="user_data").id


def run_comparison(
    view: View,
    registry: Registry,
    models: list[str],
    *,
    file: str | None = None,
    limit: int | None = None,
    max_tokens: int = 256,
) -> Comparison:
    """Start a comparison and wait for its end."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from tailor.cli.view import notes

    console = notes()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    found = registry.compare(models, file=file, limit=limit, max_tokens=max_tokens)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("answers", total=None)
        for found in registry.follow_comparison(found):  # noqa: B020 - the newest one
            done = sum(model.num_done for model in found.models)
            progress.update(task, completed=done, total=found.num_asked or None)
    return found


def show_comparison(view: View, found: Comparison) -> None:
    """Scores side by side, each pair's test, and the items on which they differ."""
    from tailor.cli.figures import printable, shortened

    view.people.print(_table(found))
    for note in found.notes:
        view.say(f"note: {printable(note)}", style="yellow")
    for pair in found.pairs:
        _show_pair(view, pair)
    if not found.items:
        return
    view.say()
    view.say(f"Items on which they differ ({len(found.items)}; the first {_SHOWN})", style="bold")
    for item in found.items[:_SHOWN]:
        view.say(f"  line {item.line}: {shortened(printable(item.prompt), most=90)}")
        view.say(f"    wanted {_quoted(item.expected)}")
        for place, (score, answer) in enumerate(zip(item.scores, item.answers, strict=True), start=1):
            mark = "✓" if score >= 0.5 else "✗"
            view.say(f"    {mark} {place}    {_quoted(answer)}", style="green" if score >= 0.5 else "red")


def _show_pair(view: View, pair: ComparedPair) -> None:
    from tailor.cli.figures import printable
    from tailor.cli.proven import show_clusters

    style = {"better": "bold green", "worse": "bold red"}.get(pair.verdict, "bold")
    view.say()
    view.say(printable(pair.sentence), style=style)
    view.say(f"  fixed {pair.fixed}, broken {pair.broken}, unchanged {pair.unchanged}")
    show_clusters(view, pair.clusters)


def _table(found: Comparison) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tailor.cli.figures import percent

    table = Table("", "model", "score", "95 % interval", "tokens", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for place, each in enumerate(found.models, start=1):
        interval = f"{100 * each.interval.low:.1f} to {100 * each.interval.high:.1f}" if each.interval else ""
        score = percent(each.score) if each.score is not None else each.status.replace("_", " ")
        table.add_row(str(place), Text(each.model), score, interval, f"{each.completion_tokens:,}")
    return table


def _quoted(text: str) -> str:
    from tailor.cli.figures import printable, shortened

    return f'"{shortened(printable(text), most=80)}"'
