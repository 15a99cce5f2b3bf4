"""`tailor keys`: who may talk to the server. An operator's verb: it works on the home itself."""

from __future__ import annotations

from typing import Annotated

import typer

from tailor.cli.options import Home, Json

app = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="What the key is for.")] = "default",
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, alone, on standard output. It is shown this once."""
    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.store import DEFAULT_TENANT, Store

    view = View.open(as_json=as_json)
    key, secret = Store.open(home_of(home)).keys.create(DEFAULT_TENANT, name)
    view.emit({"id": key.id, "name": key.name, "key": secret})
    if not as_json:
        print(secret)
        view.note(f"Key {key.id} ({key.name}). It cannot be shown again: only its digest is kept.")
        view.note("export OPENAI_API_KEY=<the key>, and OPENAI_BASE_URL as `tailor serve` prints it.")


@app.command("list")
def list_keys(home: Home = None, as_json: Json = False) -> None:
    """All keys, without their secrets."""
    from datetime import datetime

    from rich import box
    from rich.table import Table

    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.store import DEFAULT_TENANT, Store

    view = View.open(as_json=as_json)
    found = Store.open(home_of(home)).keys.list(DEFAULT_TENANT)
    view.emit(
        [
            {
                "id": key.id,
                "name": key.name,
                "created_at": key.created_at,
                "revoked_at": key.revoked_at,
                "last4": key.last4,
            }
            for key in found
        ]
    )
    if as_json:
        return
    if not found:
        view.say("No keys yet. `tailor keys create` makes one.")
        return
    table = Table("id", "name", "ends with", "made", "state", box=box.SIMPLE_HEAD, pad_edge=False)
    for key in found:
        made = datetime.fromtimestamp(key.created_at).strftime("%Y-%m-%d %H:%M")
        table.add_row(key.id, key.name, f"…{key.last4}", made, "revoked" if key.revoked_at else "valid")
    view.people.print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, not the key itself.")],
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Make a key worthless at once."""
    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.store import DEFAULT_TENANT, Store

    view = View.open(as_json=as_json)
    key = Store.open(home_of(home)).keys.revoke(DEFAULT_TENANT, key_id)
    view.emit({"id": key.id, "name": key.name, "revoked_at": key.revoked_at})
    if not as_json:
        view.say(f"Key {key.id} ({key.name}) is revoked.")
