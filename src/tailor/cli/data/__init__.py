"""`tailor data`: read whatever there is, see what is wrong with it, mend it."""

from __future__ import annotations

import typer

from tailor.cli.data.check import check
from tailor.cli.data.convert import convert
from tailor.cli.data.fix import fix
from tailor.cli.data.mix import mix
from tailor.cli.data.show import show
from tailor.cli.data.synthesize import synthesize

app = typer.Typer(no_args_is_help=True, help="Read, check, show and mend training data.")

app.command("check")(check)
app.command("show")(show)
app.command("convert")(convert)
app.command("fix")(fix)
app.command("synthesize")(synthesize)
app.command("mix")(mix)

__all__ = ["app", "check"]
