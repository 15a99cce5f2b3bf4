"""`tailor models`: what can be asked and trained; bases are the operator's, versions come from jobs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.groups import ListByDefault
from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.protocol import ModelObject
    from tailor.store import Base

app = typer.Typer(cls=ListByDefault, help="List, show, prove, add and remove models.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A base or a tuned model.")]


@app.command("list")
def list_models(home: Home = None, as_json: Json = False) -> None:
    """Bases, tuned versions and checkpoints."""
    from tailor.cli.connect import connect
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        found = connection.endpoint.models()
    view.emit([model.model_dump(mode="json") for model in found])
    if not as_json:
        _show_list(view, found)


@app.command()
def show(name: Name, home: Home = None, as_json: Json = False) -> None:
    """One model: what it is and what made it."""
    from datetime import datetime

    from tailor.cli.connect import connect
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        model = connection.endpoint.model(name)
    view.emit(model.model_dump(mode="json"))
    if not as_json:
        made = datetime.fromtimestamp(model.created).isoformat(sep=" ")
        for key, value in {"model": model.id, "made": made, **(model.tailor or {})}.items():
            if value is not None:
                view.say(f"{key:>10}  {value}")


@app.command()
def proof(name: Name, home: Home = None, as_json: Json = False) -> None:
    """What a tuned model fixed and broke against its base."""
    from tailor.cli.connect import connect
    from tailor.cli.proven import show_proof
    from tailor.cli.view import View

    view = View.open(as_json=as_json)
    with connect(view, home) as connection:
        found = connection.endpoint.proof(name)
    view.emit(found.model_dump(mode="json"))
    if not as_json:
        show_proof(view, found)


@app.command()
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name that callers will use.")],
    source: Annotated[
        str, typer.Argument(metavar="PATH", help="A directory, or a name on the Hugging Face hub.")
    ],
    default: Annotated[bool, typer.Option("--default", help="Make it the default base.")] = False,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Add a base model: safetensors and a chat template, no code. Works on the home itself."""
    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.models import fetch, inspect, require_own_name
    from tailor.store import Store

    view = View.open(as_json=as_json)
    require_own_name(name)
    directory = fetch(source)
    facts = inspect(directory)
    base = Store.open(home_of(home)).bases.add(
        name=name,
        directory=str(directory),
        digest=facts.digest,
        template_digest=facts.template_digest,
        context_length=facts.context_length,
        parameters=facts.num_parameters,
        model_type=facts.model_type,
        make_default=default,
    )
    _report_base(view, base, "added")


@app.command()
def merge(
    name: Annotated[str, typer.Argument(metavar="VERSION", help="A tuned model.")],
    directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="Where to write; new or empty.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Write a tuned model as a complete model directory for other programs. Works on the home itself.

    Before it is kept, its log-probabilities are compared with those of base and adapter.
    """
    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.models import merge_version
    from tailor.store import DEFAULT_TENANT, Store

    view = View.open(as_json=as_json)
    store = Store.open(home_of(home))
    version = store.versions.get(DEFAULT_TENANT, name)
    base = store.bases.get(version.base)
    difference = merge_version(store.weights.verify(version.digest), Path(base.directory), directory)
    view.emit({"id": name, "directory": str(directory), "difference": difference})
    if not as_json:
        view.say(f"{directory} holds {name} as a complete model.")
        view.say(f"Its log-probabilities differ from the version's by {difference:.1g} nats a token.")


@app.command("default")
def set_default(name: Name, home: Home = None, as_json: Json = False) -> None:
    """Make a base the default: OpenAI's model names then stand for it. Works on the home itself."""
    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.store import Store

    view = View.open(as_json=as_json)
    _report_base(view, Store.open(home_of(home)).bases.set_default(name), "the default now")


@app.command()
def remove(name: Name, home: Home = None, as_json: Json = False) -> None:
    """Remove a tuned model, or take a base out of the catalogue (its files stay)."""
    from tailor.cli.connect import connect
    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.protocol import VersionName

    view = View.open(as_json=as_json)
    if VersionName.parse(name):
        with connect(view, home) as connection:
            connection.endpoint.delete_model(name)
    else:
        from tailor.store import Store

        Store.open(home_of(home)).bases.remove(name)
    view.emit({"id": name, "deleted": True})
    if not as_json:
        view.say(f"{name} is gone.")


def _report_base(view: View, base: Base, what: str) -> None:
    from dataclasses import asdict

    from tailor.cli.figures import count

    view.emit(asdict(base))
    if not view.as_json:
        size = f"{base.model_type}, {count(base.parameters, 'parameter')}, {base.context_length:,} tokens"
        view.say(f"{base.name} is {what}: {size}{', default' if base.is_default else ''}.")


def _show_list(view: View, found: list[ModelObject]) -> None:
    from datetime import datetime

    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table("model", "kind", "base", "made", box=box.SIMPLE_HEAD, pad_edge=False)
    for model in found:
        ours = model.tailor or {}
        kind = f"{ours.get('kind', '')}{' (default)' if ours.get('default') else ''}"
        made = datetime.fromtimestamp(model.created).strftime("%Y-%m-%d %H:%M")
        style = "bold" if ours.get("kind") == "version" else ""
        table.add_row(Text(model.id, style=style), kind, Text(ours.get("base") or ""), made)
    view.people.print(table)
