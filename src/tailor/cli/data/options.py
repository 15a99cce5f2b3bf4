"""Options that say what the columns of a file are, for every verb that reads data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from tailor.data.rows import Form, Mapping

_COLUMNS = "What the columns are"

Input = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="COLUMN",
        help="The question; given twice, both are joined.",
        rich_help_panel=_COLUMNS,
    ),
]
Output = Annotated[
    str | None,
    typer.Option("--output", metavar="COLUMN", help="The answer or label.", rich_help_panel=_COLUMNS),
]
System = Annotated[
    str | None,
    typer.Option(
        "--system", metavar="TEXT", help="A system message for every row.", rich_help_panel=_COLUMNS
    ),
]
SystemColumn = Annotated[
    str | None,
    typer.Option(
        "--system-column", metavar="COLUMN", help="Each row's own system message.", rich_help_panel=_COLUMNS
    ),
]
Messages = Annotated[
    str | None,
    typer.Option(
        "--messages", metavar="COLUMN", help="All turns of a conversation.", rich_help_panel=_COLUMNS
    ),
]
Preferred = Annotated[
    str | None,
    typer.Option(
        "--preferred", metavar="COLUMN", help="The better answer of a pair.", rich_help_panel=_COLUMNS
    ),
]
Rejected = Annotated[
    str | None,
    typer.Option(
        "--rejected", metavar="COLUMN", help="The worse answer of a pair.", rich_help_panel=_COLUMNS
    ),
]
Text = Annotated[
    str | None,
    typer.Option("--text", metavar="COLUMN", help="Plain text to learn as it is.", rich_help_panel=_COLUMNS),
]
Keep = Annotated[
    list[str] | None,
    typer.Option(
        "--keep", metavar="COLUMN", help="Goes along for a grader (reinforcement).", rich_help_panel=_COLUMNS
    ),
]
Each = Annotated[
    str | None,
    typer.Option(
        "--each", metavar="COLUMN", help="A list: every item of it becomes a row.", rich_help_panel=_COLUMNS
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--label", metavar="VALUE=NAME", help="Rename an answer, such as 1=spam.", rich_help_panel=_COLUMNS
    ),
]
WantedForm = Annotated[
    str | None,
    typer.Option(
        "--form",
        metavar="FORM",
        help="What the rows should be: chat, preference, reinforcement, completion or text.",
    ),
]
Split = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Which split, list or sheet. (default: train)")
]
Encoding = Annotated[
    str | None,
    typer.Option("--encoding", metavar="NAME", help="Of text that is not UTF-8. (default: guessed)"),
]


def mapping_of(
    *,
    input: list[str] | None = None,
    output: str | None = None,
    system: str | None = None,
    system_column: str | None = None,
    messages: str | None = None,
    preferred: str | None = None,
    rejected: str | None = None,
    text: str | None = None,
    keep: list[str] | None = None,
    each: str | None = None,
    labels: list[str] | None = None,
) -> Mapping:
    """The columns that were given on the command line.

    Raises:
        InvalidRequest: A label is not written as VALUE=NAME.
    """
    from tailor.data.rows import Mapping

    return Mapping(
        input=tuple(input or ()),
        output=output,
        system=system,
        system_column=system_column,
        messages=messages,
        preferred=preferred,
        rejected=rejected,
        text=text,
        keep=tuple(keep or ()),
        each=each,
        labels=tuple(_label(given) for given in labels or ()),
    )


def form_of(given: str | None) -> Form | None:
    """The form that was asked for.

    Raises:
        InvalidRequest: There is no such form.
    """
    from tailor.data.rows import Form

    known = [form.value for form in Form if form is not Form.TABLE]
    if given is not None and given not in known:
        raise InvalidRequest(f"There is no form {given[:40]!r}.", remedy=f"Use one of {', '.join(known)}.")
    return Form(given) if given is not None else None


def _label(given: str) -> tuple[str, str]:
    value, equals, name = given.partition("=")
    if not equals:
        raise InvalidRequest(f"--label {given} does not say what to call it.", remedy="Write --label 1=spam.")
    return value, name
