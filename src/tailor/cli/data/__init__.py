"""`tailor data`: read whatever there is, see what is wrong with it, mend it."""

from __future__ import annotations

import typer

from tailor.cli.data import convert, fix

app = typer.Typer(no_args_is_help=True, help="Read, check, show and mend training data.")

app.command("convert")(convert.convert)
app.command("fix")(fix.fix)

__all__ = ["app"]
