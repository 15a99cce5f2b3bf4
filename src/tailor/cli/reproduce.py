"""`tailor reproduce VERSION`: train it again, and say whether the same came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.protocol.versions import Reproduction


def reproduce(
    name: Annotated[
        str, typer.Argument(metavar="VERSION", help="Its name, id (8 letters), alias or unique suffix.")
    ],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Train a version again from its kept files, recipe and seed, and compare.

    On the processor the weights have the same bytes; elsewhere their figures are compared. Exits with 1
    where something else came out.
    """
    from tailor.cli.connect import connect
    from tailor.cli.view import View
    from tailor.cli.watch import watch
    from tailor.client import Registry

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        registry = Registry(connection.endpoint)
        made = registry.reproduce(registry.full_name(name))
        view.say(f"Job {made.job} makes {made.version} again", style="bold")
        watch(view, connection.endpoint.follow(made.job))
        made = registry.reproduction(made.version, made.job)
    view.emit(made.model_dump(mode="json"))
    if not as_json:
        _show(view, made)
    if made.verdict not in ("same bytes", "same figures"):
        raise typer.Exit(1)


def _show(view: View, made: Reproduction) -> None:
    from tailor.cli.figures import printable

    good = made.verdict in ("same bytes", "same figures")
    mark = "✓" if good else "✗"
    sentence = printable(made.sentence or "")
    view.say(f"{mark} {sentence}", style="bold green" if good else "bold red")
    for difference in made.differences:
        view.say(f"  {printable(difference)}", style="yellow")
    if made.model is not None:
        view.say(f"  `tailor models remove {made.model}` deletes the second one.")
