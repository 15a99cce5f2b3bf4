"""How the command line counts tokens: with the tokenizer of a base, else by an estimate that says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from tailor.data.doctor import TokenCount

Base = Annotated[
    Path | None,
    typer.Option(
        "--base",
        metavar="DIR",
        help="The model directory whose tokenizer, template and context count. (default: the shipped base)",
    ),
]


def base_directory(base: Path | None) -> Path:
    """The model directory that was named, else the base inside the package.

    Raises:
        InvalidRequest: There is no tokenizer in the directory.
    """
    if base is None:
        from tailor.models import embedded_directory

        return embedded_directory()
    if not (base / "tokenizer.json").is_file():
        raise InvalidRequest(
            f"There is no tokenizer.json in {base}.", remedy="Name the directory of a model, with --base."
        )
    return base


def token_count(base: Path | None) -> TokenCount:
    """Tokens of the base; an estimate where the tokenizer's library is not installed and no base is named."""
    from tailor.data.doctor import TokenCount

    directory = base_directory(base)
    try:
        from tailor.models import token_counter

        count = token_counter(directory)
    except ModuleNotFoundError:
        if base is not None:
            raise
        return TokenCount()
    name = "the shipped base" if base is None else directory.name
    return TokenCount(name=name, count=count, context=context_of(directory))


def context_of(directory: Path) -> int | None:
    """Tokens that the model of a directory holds, if it says."""
    try:
        found = json.loads((directory / "config.json").read_bytes()).get("max_position_embeddings")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, int) else None
