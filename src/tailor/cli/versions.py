"""`tailor versions`: every tuned model with what made it; show, diff, tag, note."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailor.cli.groups import ListByDefault
from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from rich.table import Table

    from tailor.cli.view import View
    from tailor.protocol.versions import VersionRecord

app = typer.Typer(cls=ListByDefault, help="Tuned models and what made them: list, show, diff, tag, note.")

Name = Annotated[
    str, typer.Argument(metavar="VERSION", help="Its name, id (8 letters), alias or unique suffix.")
]
_INDENT = 14


@app.command("list")
def list_versions(
    tag: Annotated[str | None, typer.Option("--tag", metavar="TAG", help="Only with this tag.")] = None,
    base: Annotated[str | None, typer.Option("--base", metavar="BASE", help="Only of this base.")] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Checkpoints, too.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """All versions, with how well they did, their aliases and tags."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        found = Registry(connection.endpoint).versions(tag=tag, base=base)
    wanted = [one for one in found if checkpoints or one.kind == "version"]
    view.emit([one.model_dump(mode="json", exclude_none=True) for one in wanted])
    if as_json:
        return
    if not wanted:
        view.say("No versions yet. `tailor train FILE` makes one.")
        return
    view.people.print(_table(wanted))


@app.command()
def show(name: Name, home: Home = None, as_json: Json = False) -> None:
    """One version: data, base, recipe, seed, software, parent, evaluations, proof."""
    from tailor.cli.connect import connect
    from tailor.cli.proven import show_proof
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        registry = Registry(connection.endpoint)
        found = registry.version(registry.full_name(name))
    view.emit(found.model_dump(mode="json"))
    if as_json:
        return
    for key, value in _facts(found):
        view.say(f"{key:>{_INDENT}}  {value}")
    if found.proof is not None:
        show_proof(view, found.proof, num_examples_shown=1)


@app.command()
def diff(first: Name, second: Name, home: Home = None, as_json: Json = False) -> None:
    """What is different between two versions: data, base, recipe, software, figures."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        registry = Registry(connection.endpoint)
        one, other = (registry.version(registry.full_name(name)) for name in (first, second))
    changes = differences(one, other)
    view.emit({"first": one.id, "second": other.id, "differences": changes})
    if not as_json:
        _show_differences(view, one.id, other.id, changes)


@app.command()
def tag(
    name: Name,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG...", help="Tags to put on it.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="TAG", help="Take this one off; may be repeated.")
    ] = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Put tags on a version, or take them off."""
    _label(name, home, as_json, add=tags or [], remove=remove or [])


@app.command()
def note(
    name: Name,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What should be remembered.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a note about a version."""
    _label(name, home, as_json, note=text)


def _label(name: str, home: Any, as_json: bool, **change: Any) -> None:
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        registry = Registry(connection.endpoint)
        found = registry.label(registry.full_name(name), **change)
    view.emit(found.model_dump(mode="json", include={"id", "tags", "notes"}))
    if not as_json:
        tags = ", ".join(found.tags) or "none"
        view.say(f"{found.id}: tags {tags}; {len(found.notes or ())} notes")


def differences(one: VersionRecord, other: VersionRecord) -> dict[str, list[Any]]:
    """Every field that is not the same, as `[first, second]`; fields of objects as `recipe.rank`."""
    pairs = dict(_flat(one)), dict(_flat(other))
    names = sorted({*pairs[0], *pairs[1]})
    return {
        name: [pairs[0].get(name), pairs[1].get(name)]
        for name in names
        if pairs[0].get(name) != pairs[1].get(name)
    }


_UNLIKE_BY_NATURE = {
    "id",
    "created_at",
    "job",
    "notes",
    "evaluations",
    "proof",
    "children",
    "aliases",
    "tags",
}


_IDS = {"data.training_file", "data.validation_file", "data.is_kept"}
"""Names of files: whether the files differ, their hashes say."""


def _flat(version: VersionRecord) -> Iterator[tuple[str, Any]]:
    plain = version.model_dump(mode="json", exclude=_UNLIKE_BY_NATURE)
    yield from ((name, value) for name, value in _leaves("", plain) if name not in _IDS)


def _leaves(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield place, value
        return
    for name, inner in value.items():
        if name != "summary":  # says the rest again, for people
            yield from _leaves(f"{place}.{name}" if place else name, inner)


def _show_differences(view: View, one: str, other: str, changes: dict[str, list[Any]]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tailor.cli.figures import printable, shortened

    if not changes:
        view.say(f"{one} and {other} were made alike.")
        return
    table = Table("", one, other, box=box.SIMPLE_HEAD, pad_edge=False)
    for name, values in changes.items():
        shown = (Text(shortened(printable(_told(value)), most=48)) for value in values)
        table.add_row(name, *shown)
    view.people.print(table)


def _told(value: Any) -> str:
    import json

    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _table(found: list[VersionRecord]) -> Table:
    from datetime import datetime

    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tailor.cli.figures import percent

    table = Table(
        "version", "made", "method", "right", "aliases", "tags", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for one in found:
        table.add_row(
            Text(one.id, style="bold" if one.aliases else ""),
            datetime.fromtimestamp(one.created_at).strftime("%Y-%m-%d %H:%M"),
            f"{one.method}, {one.adapter}",
            percent(one.score) if one.score is not None else "",
            Text(", ".join(one.aliases), style="green"),
            Text(", ".join(one.tags)),
        )
    return table


def _facts(found: VersionRecord) -> Iterator[tuple[str, str]]:
    from datetime import datetime

    from tailor.cli.figures import printable

    yield "version", found.id
    yield "made", datetime.fromtimestamp(found.created_at).isoformat(sep=" ")
    yield "job", f"{found.job}, step {found.step}, seed {found.seed}"
    if found.aliases:
        yield "aliases", ", ".join(found.aliases)
    if found.tags:
        yield "tags", ", ".join(found.tags)
    yield "base", f"{found.base} ({found.base_digest[:12]}), template {found.template_digest[:12]}"
    if found.parent:
        yield "parent", found.parent
    for child in found.children:
        yield "child", child
    if found.data is not None:
        data = found.data
        yield "examples", f"fingerprint {data.fingerprint[:12]}{'' if data.is_kept else ', file deleted'}"
        yield "training file", f"{data.training_file} (sha256 {data.training_sha256[:12]})"
        if data.validation_file and data.validation_sha256:
            yield "validation", f"{data.validation_file} (sha256 {data.validation_sha256[:12]})"
        for name, report in (data.report or {}).items():
            yield f"{name} data", printable(str(report.get("summary", "")))
    yield "weights", f"{found.method}, {found.adapter}, {found.digest[:12]}"
    yield "recipe", ", ".join(f"{name} {_told(value)}" for name, value in found.recipe.items())
    if found.options:
        yield "options", ", ".join(f"{name} {_told(value)}" for name, value in found.options.items())
    yield "software", ", ".join(f"{name} {_told(value)}" for name, value in found.software.items())
    for run in found.evaluations or ():
        yield "evaluation", f"{run.name}: {run.passed} of {run.total} passed ({run.status}, {run.eval})"
    for one in found.notes or ():
        yield "note", f"{datetime.fromtimestamp(one.created_at):%Y-%m-%d}: {printable(one.text)}"
