"""`tailor promote`, `tailor rollback`, `tailor aliases`: which model answers under a name of your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailor.cli.groups import ListByDefault
from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.client import Registry
    from tailor.errors import InvalidRequest
    from tailor.protocol.aliases import AliasMove, AliasObject, Gate

aliases = typer.Typer(cls=ListByDefault, help="Names of your own for models: list, show, remove.")

Alias = Annotated[str, typer.Argument(metavar="ALIAS", help="The name, such as prod.")]
Reason = Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="Why; kept in the history.")]


def promote(
    model: Annotated[str, typer.Argument(metavar="VERSION", help="What should answer from now on.")],
    alias: Annotated[str, typer.Option("--as", metavar="ALIAS", help="Under this name, such as prod.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="FILE", help="Compare on these cases first, and go by that."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", metavar="X", help="Only if shown to be no worse by more than X, such as 0.02."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Although the gate is shut; needs --reason.")
    ] = False,
    reason: Reason = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Let an alias stand for a version; programs that ask for the alias get it from the next request on.

    Refused where the version is significantly worse than what the alias stands for (or than its base), or
    has forgotten too much. Where nothing compares the two yet, they are compared first, on what the version
    was proven on.
    """
    from tailor.cli.compare import upload_cases
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry
    from tailor.errors import InvalidRequest

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        registry = Registry(connection.endpoint)
        name = registry.full_name(model)
        options: dict[str, Any] = {"margin": margin, "force": force, "reason": reason}
        try:
            if data is not None:
                file = upload_cases(connection.endpoint, data)
                options["comparison"] = _compare(view, registry, alias, name, file)
            moved = _promote(view, registry, alias, name, options)
        except InvalidRequest as error:
            if not _show_refusal(view, error):
                raise
            raise typer.Exit(1) from error
    view.emit(moved.model_dump(mode="json"))
    if not as_json and moved.history:
        _show_promoted(view, moved, moved.history[0])


def rollback(alias: Alias, reason: Reason = None, home: Home = None, as_json: Json = False) -> None:
    """Let an alias stand for what it stood for before. At once: no gate is asked."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        moved = Registry(connection.endpoint).roll_back(alias, reason=reason)
    view.emit(moved.model_dump(mode="json"))
    if not as_json and moved.history:
        view.say(f"✓ {alias} stands for {moved.model} again, not for {moved.history[0].previous}.")


@aliases.command("list")
def list_aliases(home: Home = None, as_json: Json = False) -> None:
    """All aliases and what they stand for."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        found = Registry(connection.endpoint).aliases()
    view.emit([alias.model_dump(mode="json") for alias in found])
    if as_json:
        return
    if not found:
        view.say("No aliases yet. `tailor promote VERSION --as prod` makes one.")
    for alias in found:
        view.say(f"{alias.name}  {alias.model}  since {_time(alias.moved_at)}")


@aliases.command()
def show(alias: Alias, home: Home = None, as_json: Json = False) -> None:
    """What an alias stands for, and everything it stood for before."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        found = Registry(connection.endpoint).alias(alias)
    view.emit(found.model_dump(mode="json"))
    if not as_json:
        view.say(f"{found.name} stands for {found.model}", style="bold")
        for move in found.history or ():
            _show_move(view, move)


@aliases.command()
def remove(alias: Alias, home: Home = None, as_json: Json = False) -> None:
    """Take an alias back: nothing answers under it. The model stays, and so does the history."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        Registry(connection.endpoint).remove_alias(alias)
    view.emit({"name": alias, "deleted": True})
    if not as_json:
        view.say(f"{alias} is gone.")


def _promote(view: View, registry: Registry, alias: str, model: str, options: dict[str, Any]) -> AliasObject:
    """Ask for it; where nothing compares the two, compare them and ask again."""
    from tailor.errors import InvalidRequest

    try:
        return registry.promote(alias, model, **options)
    except InvalidRequest as error:
        if error.code != "comparison_needed" or options["force"]:
            raise
        options["comparison"] = _compare(view, registry, alias, model, None)
        return registry.promote(alias, model, **options)


def _compare(view: View, registry: Registry, alias: str, model: str, file: str | None) -> str:
    """Compare a model with what the alias stands for (else with its base); the comparison's id."""
    from tailor.cli.compare import run_comparison
    from tailor.errors import InvalidRequest, NotFound

    try:
        against = registry.alias(alias).model
    except NotFound:
        against = registry.version(model).base
    if file is None:  # on what the new one was proven on, not on what the old one was
        proof = registry.version(model).proof if model.startswith("ft:") else None
        file = proof.file if proof else None
    view.note(f"Comparing {model} with {against}, for they have no items in common yet")
    found = run_comparison(view, registry, [against, model], file=file)
    if found.status != "completed":
        raise InvalidRequest(
            f"The comparison {found.id} did not get through: {' '.join(found.notes)}",
            code="comparison_failed",
        )
    return found.id


def _show_promoted(view: View, alias: AliasObject, move: AliasMove) -> None:
    before = f", not for {move.previous}" if move.previous else ""
    view.say(f"✓ {alias.name} stands for {alias.model}{before}.", style="bold green")
    if move.gate is not None:
        view.say(f"  {_in_words(move.gate)}")
        if move.forced:
            view.say(f"  Forced: {move.reason}. The gate was shut:", style="yellow")
            for reason in move.gate.reasons:
                view.say(f"    {reason}", style="yellow")
    if move.previous:
        view.say(f"  Back: tailor rollback {alias.name}")


def _show_refusal(view: View, error: InvalidRequest) -> bool:
    """Why the gate is shut, and what helps; False for an error of another kind."""
    from tailor.cli.figures import printable
    from tailor.protocol.aliases import Gate

    if error.code not in ("promotion_refused", "comparison_needed"):
        return False
    gate = Gate.model_validate(error.details["gate"])
    view.emit({"ok": False, "gate": gate.model_dump(mode="json")})
    if not view.as_json:
        view.say(f"✗ {gate.model} is not promoted.", style="bold red")
        for reason in gate.reasons:
            view.say(f"  {printable(reason)}", style="red")
        if gate.difference is not None and gate.verdict != "worse":
            view.say(f"  As for the task: {_in_words(gate)}", style="dim")
        for remedy in gate.remedies:
            view.say(f"  - {printable(remedy)}")
        view.say("  - Or all the same: --force --reason TEXT; the reason is kept")
    return True


def _show_move(view: View, move: AliasMove) -> None:
    from tailor.cli.figures import printable

    what = {"promote": "promoted", "rollback": "rolled back to", "remove": "removed"}[move.action]
    view.say(f"  {_time(move.created_at)}  {what} {move.model or ''}{' (forced)' if move.forced else ''}")
    if move.reason:
        view.say(f"      because: {printable(move.reason)}")
    if move.gate is not None:
        view.say(f"      {_in_words(move.gate)}", style="dim")
        for reason in move.gate.reasons:
            view.say(f"      {printable(reason)}", style="yellow")


def _in_words(gate: Gate) -> str:
    from tailor.cli.figures import p_value

    if gate.difference is None or gate.against is None:
        return "Not compared with anything."
    difference = gate.difference
    low, high = difference.interval.low, difference.interval.high
    if difference.metric in ("pass_rate", "score"):
        figures = f"{100 * difference.mean:+.1f} points (95 %: {100 * low:+.1f} to {100 * high:+.1f})"
    else:
        figures = f"{difference.metric} {difference.mean:+.3f} (95 %: {low:+.3f} to {high:+.3f})"
    said = {"cannot tell": "not proven different from"}.get(gate.verdict, f"{gate.verdict} than")
    if gate.verdict == "no worse":
        said = f"no worse by more than {gate.margin:g} than"
    return (
        f"{said[:1].upper()}{said[1:]} {gate.against}: {figures}, {p_value(difference.p_value)}, "
        f"{gate.num_items:,} items, by {gate.evidence}"
    )


def _time(unix_seconds: int) -> str:
    from datetime import datetime

    return datetime.fromtimestamp(unix_seconds).strftime("%Y-%m-%d %H:%M")
