"""`tailor serve`: the API on this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.options import Home

if TYPE_CHECKING:
    from tailor.cli.view import View


def serve(
    home: Home = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Also answer for this Host name; may be repeated."),
    ] = None,
    embeddings: Annotated[
        str | None,
        typer.Option(
            "--embeddings",
            metavar="MODEL",
            help="What cosine graders compare by. (default: $TAILOR_EMBEDDINGS)",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="DEVICE",
            help="Where models train and answer: auto, cpu, cuda or cuda:N. (default: $TAILOR_DEVICE)",
        ),
    ] = None,
    spare_workers: Annotated[
        int,
        typer.Option(
            "--spare-workers",
            metavar="N",
            min=0,
            max=8,
            help="Workers kept ready for a job, about 450 MB each; 0 saves that, and jobs start later.",
        ),
    ] = 1,
) -> None:
    """Serve the API on this machine.

    Ctrl-C lets requests in progress finish; jobs go on from their last checkpoint at the next start.
    """
    from tailor.cli.options import home_of
    from tailor.cli.view import View
    from tailor.server import ServerConfig, serve

    view = View.open()
    place = home_of(home).absolute()
    if device is not None:
        os.environ["TAILOR_DEVICE"] = device  # workers have it from here
    config = ServerConfig(
        home=place,
        host=host,
        port=port,
        allowed_hosts=tuple(allow_host or ()),
        spare_workers=spare_workers,
    )
    if embeddings is not None:
        config = replace(config, embedding_model=embeddings)
    serve(config, announce=lambda base_url: _announce(view, place, base_url))


def _announce(view: View, home: Path, base_url: str) -> None:
    """Where the server is, where its data lives, and how to use it; the first key is shown this once."""
    view.say(f"tailor serves {base_url}", style="bold green")
    view.say(f"  data   {home}")
    key = _first_key(home)
    if key is None:
        view.say("  keys   `tailor keys create` makes another; those made are listed by `tailor keys list`")
    view.say()
    view.say(f"  export OPENAI_BASE_URL={base_url}")
    view.say(f"  export OPENAI_API_KEY={key or '<your key>'}")
    if key is not None:
        view.say("  (this key is shown once; only its digest is kept)", style="dim")
    view.say()
    view.say("Ctrl-C stops it; what is in progress may finish first.", style="dim")


def _first_key(home: Path) -> str | None:
    """A key for people, made if there is none yet; None when there is one already."""
    from tailor.store import DEFAULT_TENANT, Store

    store = Store.open(home)
    try:
        # The command line's own key is not for people: it stays in the home.
        if any(key.name != "local" and key.revoked_at is None for key in store.keys.list(DEFAULT_TENANT)):
            return None
        return store.keys.create(DEFAULT_TENANT, "first")[1]
    finally:
        store.close()
