"""`tailor` itself: the verbs, and what becomes of an error.

Nothing heavy is imported here or at the top of a verb's file: `tailor --help` answers at once.
"""

from __future__ import annotations

import os
from enum import IntEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from tailor import __version__
from tailor.cli import (
    advise,
    base,
    chat,
    compare,
    cost,
    data,
    doctor,
    evaluate,
    jobs,
    keys,
    models,
    promote,
    reproduce,
    serve,
    train,
    versions,
)
from tailor.errors import TailorError, Unavailable


class ExitCode(IntEnum):
    """What a script can tell from the end of a command (0 is success, 130 is Ctrl-C)."""

    FAILED = 1
    """The thing itself: the job failed, the data has blocking problems, the evaluation is below its mark."""

    USAGE = 2
    """What was asked for cannot be done as asked."""

    UNREACHABLE = 3
    """No server answers, or it cannot take anything now."""


class Verbs(TyperGroup):
    """The group of all verbs; an error leaves as one sentence and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, TyperException, BrokenPipeError):
            raise
        except TailorError as error:
            if _wants_traceback():
                raise
            _complain(error.message, error.remedy)
            raise typer.Exit(_exit_code(error)) from error
        except ModuleNotFoundError as error:
            if _wants_traceback() or (error.name or "").startswith("tailor"):
                raise
            _complain(
                f"This needs {error.name}, which is not installed.",
                'pip install "tailor[local]" brings all; TAILOR_BASE_URL uses another server instead.',
            )
            raise typer.Exit(ExitCode.USAGE) from error
        except Exception as error:
            if _wants_traceback():
                raise
            _complain(
                f"tailor met something it did not expect: {type(error).__name__}. That is a fault in tailor.",
                "TAILOR_DEBUG=1 shows where it happened; a report with that helps.",
            )
            raise typer.Exit(ExitCode.FAILED) from error


app = typer.Typer(
    name="tailor",
    cls=Verbs,
    help="Fine-tune, prove and serve language models on your own machine, through OpenAI's API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_LOOP = "From data to answers"
_VERSIONS = "Versions"
_HOUSE = "The server"
app.command("check", rich_help_panel=_LOOP)(data.check)
app.add_typer(data.app, name="data", rich_help_panel=_LOOP)
app.command("advise", rich_help_panel=_LOOP)(advise.advise)
app.command("cost", rich_help_panel=_LOOP)(cost.cost)
app.command("train", rich_help_panel=_LOOP)(train.train)
app.command("eval", rich_help_panel=_LOOP)(evaluate.evaluate)
app.command("chat", rich_help_panel=_LOOP)(chat.chat)
app.add_typer(versions.app, name="versions", rich_help_panel=_VERSIONS)
app.command("compare", rich_help_panel=_VERSIONS)(compare.compare)
app.command("promote", rich_help_panel=_VERSIONS)(promote.promote)
app.command("rollback", rich_help_panel=_VERSIONS)(promote.rollback)
app.add_typer(promote.aliases, name="aliases", rich_help_panel=_VERSIONS)
app.command("reproduce", rich_help_panel=_VERSIONS)(reproduce.reproduce)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_LOOP)
app.add_typer(models.app, name="models", rich_help_panel=_LOOP)
app.command("serve", rich_help_panel=_HOUSE)(serve.serve)
app.add_typer(base.app, name="base", rich_help_panel=_HOUSE)
app.add_typer(keys.app, name="keys", rich_help_panel=_HOUSE)
app.command("doctor", rich_help_panel=_HOUSE)(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def tailor(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Fine-tune, prove and serve language models on your own machine, through OpenAI's API."""


def main() -> None:
    """The `tailor` command."""
    app()


def _complain(sentence: str, remedy: str | None) -> None:
    from tailor.cli.view import notes

    console = notes()
    console.print(sentence, style="bold red", markup=False, highlight=False, soft_wrap=True)
    if remedy:
        console.print(remedy, markup=False, highlight=False, soft_wrap=True)


def _exit_code(error: TailorError) -> ExitCode:
    if isinstance(error, Unavailable):
        return ExitCode.UNREACHABLE
    return ExitCode.USAGE if error.status < 500 else ExitCode.FAILED


def _wants_traceback() -> bool:
    return os.environ.get("TAILOR_DEBUG", "") not in ("", "0")
