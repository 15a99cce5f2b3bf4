"""Options that several verbs share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")]
Home = Annotated[
    Path | None,
    typer.Option("--home", metavar="DIR", help="Where tailor keeps its data. (default: $TAILOR_HOME)"),
]


def home_of(given: Path | None) -> Path:
    """The home directory: the one given, else `TAILOR_HOME`, else the user's data directory."""
    if given is not None:
        return given.expanduser()
    named = os.environ.get("TAILOR_HOME")
    if named:
        return Path(named).expanduser()
    from platformdirs import user_data_path

    return user_data_path("tailor")
