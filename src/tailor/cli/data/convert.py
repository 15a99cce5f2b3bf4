"""`tailor data convert SOURCE... -o OUT.jsonl`: whatever there is, as a file that can be uploaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tailor.cli.data import options
from tailor.cli.options import Json
from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tailor.cli.view import View
    from tailor.data.convert import Written
    from tailor.data.problems import Findings
    from tailor.data.rows import Row, Source

Sources = Annotated[
    list[Path],
    typer.Argument(metavar="SOURCE...", help="Files, folders or archives; hf:OWNER/NAME for one of the hub."),
]
Out = Annotated[Path, typer.Option("--out", "-o", metavar="OUT.jsonl", help="The file to write.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT if it is there.")]


def convert(
    sources: Sources,
    out: Out,
    input: options.Input = None,
    output: options.Output = None,
    system: options.System = None,
    system_column: options.SystemColumn = None,
    messages: options.Messages = None,
    preferred: options.Preferred = None,
    rejected: options.Rejected = None,
    text: options.Text = None,
    keep: options.Keep = None,
    each: options.Each = None,
    label: options.Labels = None,
    form: options.WantedForm = None,
    split: options.Split = None,
    encoding: options.Encoding = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Turn tables, exports and data sets of other tools into a training file. Needs no server.

    Reads JSON Lines, JSON, CSV, TSV, Excel, Parquet, Arrow and XML, compressed, in folders or in archives;
    OpenAI's forms, Alpaca, ShareGPT, stored completions. What the columns are is guessed, shown, and yours
    to overrule.
    """
    from tailor.cli.data.writing import refuse_overwriting, written
    from tailor.cli.figures import count
    from tailor.cli.view import View
    from tailor.data.problems import Findings
    from tailor.data.rows import open_source

    view = View.open(as_json=as_json)
    refuse_overwriting(out, sources, force=force)
    mapping = options.mapping_of(
        input=input,
        output=output,
        system=system,
        system_column=system_column,
        messages=messages,
        preferred=preferred,
        rejected=rejected,
        text=text,
        keep=keep,
        each=each,
        labels=label,
    )
    wanted = options.form_of(form)
    opened = [
        open_source(path, mapping=mapping, form=wanted, split=split, encoding=encoding) for path in sources
    ]
    _refuse_mixture(opened)
    for source in opened:
        show_source(view, source)
    findings = Findings()
    with written(out) as stream:
        done = _run(view, opened, stream, findings)
        if not done.num_rows:
            show_problems(view, findings)
            raise InvalidRequest("Not a single row could be written.", remedy="See the problems above.")
    show_problems(view, findings)
    left_out = f", {done.num_left_out:,} left out" if done.num_left_out else ""
    view.say(f"✓ {count(done.num_rows, 'row')} written to {out}{left_out}", style="green")
    view.say(f"Next: tailor data check {out}", style="dim")
    view.emit(_as_json(opened, out, done, findings))


def show_source(view: View, source: Source, *, examples: int = 2) -> None:
    """What a source is taken for, and its first rows as they will be learned."""
    from itertools import islice

    from tailor.cli.figures import printable
    from tailor.data.rows import Row

    split = f", split {source.split}" if source.split else ""
    view.say(f"{source.name}{split}: {source.form.value}, {source.mapping.how}", style="bold")
    if str(source.mapping):
        view.say(f"  {printable(str(source.mapping))}")
    others = [name for name in source.splits if name != source.split]
    if others:
        view.say(f"  not read: {', '.join(others)} (choose with --split)", style="dim")
    rows = (item for item in source.rows() if isinstance(item, Row))
    for row in islice(rows, examples):
        _show_row(view, row)


def _show_row(view: View, row: Row) -> None:
    from tailor.cli.figures import printable, shortened

    place = f"line {row.line}"
    for name, text in _parts(row.value):
        view.say(f"  {place:<12} {printable(name):<13} {printable(shortened(text, most=160))}", style="dim")
        place = ""


def _parts(value: dict[str, Any]) -> list[tuple[str, str]]:
    """What a row says, piece by piece, with who says it."""
    from tailor.data.sources.paths import as_text

    asked = value.get("input")
    said: list[tuple[str, Any]] = [
        (key, value[key]) for key in ("prompt", "completion", "text") if key in value
    ]
    groups = {
        None: asked.get("messages") if isinstance(asked, dict) else value.get("messages"),
        "preferred": value.get("preferred_output"),
        "rejected": value.get("non_preferred_output"),
    }
    for name, messages in groups.items():
        for message in messages if isinstance(messages, list) else []:
            if isinstance(message, dict):
                content = message.get("content")
                shown = content if content is not None else message.get("tool_calls")
                said.append((name or str(message.get("role")), shown))
    known = {"messages", "input", "preferred_output", "non_preferred_output", "prompt", "completion", "text"}
    said.extend((key, item) for key, item in value.items() if key not in known)
    return [(name, as_text(text)) for name, text in said]


def _refuse_mixture(sources: Sequence[Source]) -> None:
    forms = {source.form for source in sources}
    if len(forms) > 1:
        raise InvalidRequest(
            f"The sources become different forms: {', '.join(sorted(form.value for form in forms))}.",
            remedy="Convert them one by one, or ask for one form with --form.",
        )


def _run(view: View, sources: Sequence[Source], stream: Any, findings: Findings) -> Written:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from tailor.data.convert import Written, convert

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    total = sum(source.num_bytes for source in sources)
    done = Written(num_rows=0, num_left_out=0, position=0)
    with Progress(
        *columns, console=view.people, transient=True, disable=not view.people.is_terminal
    ) as progress:
        task = progress.add_task("converting", total=total)
        for done in convert(sources, stream, findings):
            progress.update(task, completed=done.position, description=f"{done.num_rows:,} rows")
    return done


def show_problems(view: View, findings: Findings) -> None:
    """What was left out and why: each kind once, with its first place."""
    from tailor.cli.figures import printable

    for code, number in findings.counts.most_common():
        first = next((problem for problem in findings.listed() if problem.code == code), None)
        if first is None:
            continue
        style = "yellow" if first.severity == "advice" else "red"
        view.say(f"  {number:>7,} {code}; first: {printable(str(first))}", style=style)


def _as_json(sources: Sequence[Source], out: Path, done: Written, findings: Findings) -> dict[str, Any]:
    from dataclasses import asdict

    name = ", ".join(source.name for source in sources)
    lines = done.num_rows + done.num_left_out
    report = findings.report(file=name, num_lines=lines, num_examples=done.num_rows)
    return {
        "out": str(out),
        "num_rows": done.num_rows,
        "num_left_out": done.num_left_out,
        "sources": [
            {
                "name": source.name,
                "form": source.form.value,
                "split": source.split,
                "splits": list(source.splits),
                "mapping": asdict(source.mapping),
            }
            for source in sources
        ],
        "report": report.to_dict(),
    }
