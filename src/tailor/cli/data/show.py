"""`tailor data show FILE`: examples as the model will see them, token by token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.data import options, tokens
from tailor.cli.options import Json
from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.text import Text

    from tailor.cli.view import View
    from tailor.data.report import Seen
    from tailor.data.rows import Form, Row, Source
    from tailor.models import Template

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file, folder or archive; hf:OWNER/NAME.")]
Line = Annotated[int | None, typer.Option("--line", min=1, metavar="N", help="This example only.")]
Number = Annotated[int, typer.Option("--number", "-n", min=1, metavar="N", help="How many, from the start.")]
Context = Annotated[
    int | None, typer.Option("--context", min=1, metavar="N", help="Cut here. (default: the model's context)")
]

_LEARNT, _CUT, _BORDER = "black on green", "strike red", "bold red"


def show(
    file: File,
    line: Line = None,
    number: Number = 1,
    base: tokens.Base = None,
    context: Context = None,
    input: options.Input = None,
    output: options.Output = None,
    system: options.System = None,
    system_column: options.SystemColumn = None,
    messages: options.Messages = None,
    preferred: options.Preferred = None,
    text: options.Text = None,
    each: options.Each = None,
    label: options.Labels = None,
    split: options.Split = None,
    encoding: options.Encoding = None,
    as_json: Json = False,
) -> None:
    """Show what the model will see: the chat template, its tokens, which are learnt, where it is cut off.

    Learnt tokens are green; the rest is only read. Needs no server.
    """
    from tailor.cli.view import View
    from tailor.data.rows import open_source

    view = View.open(as_json=as_json)
    mapping = options.mapping_of(
        input=input,
        output=output,
        system=system,
        system_column=system_column,
        messages=messages,
        preferred=preferred,
        text=text,
        each=each,
        labels=label,
    )
    source = open_source(file, mapping=mapping, split=split, encoding=encoding)
    rows = [_at(source, line)] if line is not None else first_examples(source, number)
    found = list(seen_by(base, rows, context=context))
    if not found:
        raise InvalidRequest(f"{source.name} has no sound example.", remedy="See tailor data check.")
    for seen in found if not as_json else ():
        _print(view, seen)
    view.emit({"examples": [_as_json(seen) for seen in found]})


def first_examples(source: Source, number: int) -> list[Row]:
    """The first sound rows of a source."""
    return list(islice(_sound(source), number))


def seen_by(base: Path | None, rows: Iterable[Row], *, context: int | None = None) -> Iterator[Seen]:
    """Rows as a base's template renders them.

    Raises:
        InvalidRequest: The directory holds no model.
    """
    rows = list(rows)
    if not rows:
        return
    from tailor.data.report import Seen
    from tailor.models import load_template

    directory = tokens.base_directory(base)
    template = load_template(directory)
    limit = context or tokens.context_of(directory) or 1_000_000

    def decode(ids: list[int]) -> str:
        return str(template.tokenizer.decode(ids))

    for row in rows:
        rendered = _rendered(template, row)
        if rendered is not None:
            ids, weights = rendered
            name = "the shipped base" if base is None else directory.name
            yield Seen.of(ids, weights, decode=decode, line=row.line, base=name, context=limit)


def _rendered(template: Template, row: Row) -> tuple[list[int], list[float]] | None:
    """Token ids and loss weights of a row of any form; of a pair, those of the better answer."""
    from tailor.data.doctor.items import Items
    from tailor.data.problems import Findings

    if isinstance(row.value.get("text"), str) and "messages" not in row.value:
        ids = list(template.tokenizer.encode(row.value["text"], add_special_tokens=False))
        return ids, [1.0] * len(ids)
    found = next(iter(Items([row], form=_form(row), name=row.file, findings=Findings())), None)
    if found is None:
        return None
    rendered = template.render(found.messages, found.tools)
    return rendered.ids, rendered.weights


def _form(row: Row) -> Form:
    from tailor.data.doctor.items import form_of

    return form_of(row.value)


def _sound(source: Source) -> Iterator[Row]:
    from tailor.data.doctor.items import Items
    from tailor.data.problems import Findings
    from tailor.data.rows import Row

    for row in source.rows():
        if isinstance(row, Row) and any(
            Items([row], form=source.form, name=source.name, findings=Findings())
        ):
            yield row


def _at(source: Source, line: int) -> Row:
    from tailor.data.rows import Row

    for row in source.rows():
        if isinstance(row, Row) and row.line == line:
            return row
    raise InvalidRequest(
        f"{source.name} has no example that begins at line {line}.",
        remedy="See its problems with tailor data check, or name another line.",
    )


def _print(view: View, seen: Seen) -> None:
    cut = f", {seen.num_cut:,} cut off at {seen.context:,}" if seen.num_cut else ""
    view.say(
        f"line {seen.line}: {len(seen.tokens):,} tokens of {seen.base}, {seen.num_learnt:,} learnt{cut}",
        style="bold",
    )
    view.people.print(_coloured(seen, plain=not view.people.is_terminal), soft_wrap=True)
    view.say()


def _coloured(seen: Seen, *, plain: bool) -> Text:
    """The tokens in colours; where there are none, brackets around what is learnt."""
    from rich.text import Text

    from tailor.cli.figures import printable

    shown = Text()
    was_cut = False
    for is_learnt, is_cut, texts in seen.runs():
        if is_cut and not was_cut:
            shown.append(f"\n✂ here the model's {seen.context:,} tokens end\n", style=_BORDER)
            was_cut = True
        if plain:
            words = printable("".join(texts))
            shown.append(f"⟦{words}⟧" if is_learnt else words)
            continue
        for place, text in enumerate(texts):
            style = _CUT if is_cut else _LEARNT if is_learnt else "dim" if place % 2 else ""
            shown.append(printable(text), style=f"{style} underline" if is_learnt and place % 2 else style)
    return shown


def _as_json(seen: Seen) -> dict[str, object]:
    return {
        "line": seen.line,
        "base": seen.base,
        "context": seen.context,
        "num_tokens": len(seen.tokens),
        "num_learnt": seen.num_learnt,
        "num_cut": seen.num_cut,
        "tokens": [[token.text, token.is_learnt, token.is_cut] for token in seen.tokens],
    }
