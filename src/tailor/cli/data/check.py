"""`tailor data check FILE`: everything the doctor says about training data, on one screen or as a page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tailor.cli.data import options, tokens
from tailor.cli.data.curve import gain_of
from tailor.cli.data.embedding import embedding
from tailor.cli.data.losses import losses_of
from tailor.cli.options import Home, Json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from tailor.cli.view import View
    from tailor.data import DataReport
    from tailor.data.doctor import Corpus, Diagnosis, Finding, Options
    from tailor.data.doctor.findings import Sample
    from tailor.data.doctor.task import Goal as GoalName
    from tailor.data.report import Seen
    from tailor.data.rows import Source

_ON_A_SCREEN = 8
_BLOCKING_ON_A_SCREEN = 12
_SEEN_ON_A_PAGE = 3
_SEVERITIES = {"blocking": ("✗", "bold red"), "advice": ("!", "yellow")}

File = Annotated[Path, typer.Argument(metavar="FILE", help="A file, folder or archive; hf:OWNER/NAME.")]
Validation = Annotated[
    Path | None, typer.Option("--validation", metavar="FILE", help="Look for leaks into this one.")
]
Html = Annotated[
    Path | None, typer.Option("--html", metavar="OUT.html", help="Write the whole report as one page.")
]
Goal = Annotated[
    str | None,
    typer.Option(
        "--goal",
        metavar="GOAL",
        help="Judge the amount for: format, style, domain or behaviour. (default: by the answers)",
    ),
]
Near = Annotated[
    float, typer.Option("--near", min=0.3, max=1.0, metavar="SHARE", help="What counts as nearly the same.")
]
Epochs = Annotated[int, typer.Option("--epochs", min=1, metavar="N", help="To count the tokens trained.")]
Losses = Annotated[
    str | None,
    typer.Option(
        "--losses",
        metavar="JOB",
        help="A job trained on this file, or its example_losses.jsonl: show what stayed hard.",
    ),
]
Advice = Annotated[
    Path | None,
    typer.Option(
        "--advice",
        metavar="FILE",
        help="What `tailor advise --json` printed: judge the amount by its learning curve.",
    ),
]
Embeddings = Annotated[
    str | None,
    typer.Option(
        "--embeddings",
        metavar="MODEL",
        help="A model of the server or of an upstream: find what means the same in other words.",
    ),
]
Every = Annotated[bool, typer.Option("--all", help="Every finding, with its first lines, not one screen.")]


def check(
    file: File,
    validation: Validation = None,
    html: Html = None,
    base: tokens.Base = None,
    goal: Goal = None,
    near: Near = 0.8,
    epochs: Epochs = 3,
    losses: Losses = None,
    embeddings: Embeddings = None,
    advice: Advice = None,
    every: Every = False,
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
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Find what would ruin a model, before training does. Needs no server.

    Copies, contradictions, leaks into the validation file, wrong labels, broken formats, personal data,
    classes, lengths, languages: each with lines, reason and remedy. Blocking problems end with exit code 1.
    """
    from tailor.cli.view import View
    from tailor.data.doctor import Options
    from tailor.data.rows import open_source

    view = View.open(as_json=as_json)
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
    go_by = Options(
        tokens=tokens.token_count(base),
        goal=_goal(goal),
        near=near,
        epochs=epochs,
        losses=None if losses is None else losses_of(view, losses, home),
        gain=None if advice is None else gain_of(advice),
    )

    def opened(path: Path, part: str | None) -> Source:
        return open_source(path, mapping=mapping, form=wanted, split=part, encoding=encoding)

    source = opened(file, split)
    held_out = None if validation is None else opened(validation, None)
    with embedding(view, embeddings, home) as embed:
        found = _diagnose(view, source, held_out, replace(go_by, embed=embed))
    seen = _seen(source, base) if html is not None else ()
    if html is not None:
        _write(html, found[0], seen)
    if not as_json:
        for diagnosis in found:
            show(view, diagnosis, source=source, every=every)
        _say_what_next(view, html)
    view.emit({"ok": all(each.ok for each in found), "files": [each.to_dict() for each in found]})
    if not all(each.ok for each in found):
        raise typer.Exit(1)


def show(view: View, diagnosis: Diagnosis, *, source: Source | None = None, every: bool = False) -> None:
    """A diagnosis on one screen; with `every`, all findings and the first lines of each."""
    from tailor.cli.figures import printable

    report, counted = diagnosis.report, diagnosis.tokens
    style = "bold green" if report.ok else "bold red"
    view.say(f"{'✓' if report.ok else '✗'} {printable(report.summary())}", style=style)
    mapped = f"; {source.mapping}" if source is not None and str(source.mapping) else ""
    view.say(printable(f"  {diagnosis.task}{mapped}"), style="dim")
    if counted is not None:
        view.say(
            f"  {counted.total:,} tokens, {counted.trained:,} in {counted.epochs} epochs; "
            f"median {counted.median:,}, longest {counted.longest:,} ({counted.counted_with})",
            style="dim",
        )
        _show_figures(view, diagnosis)
    findings = diagnosis.findings
    if not report.ok and _show_blocking(view, report, every=every):
        findings = tuple(finding for finding in findings if finding.severity != "blocking")
    shown = [
        finding
        for place, finding in enumerate(findings)
        if every or finding.severity == "blocking" or place < _ON_A_SCREEN
    ]
    if shown:
        view.people.print(_table(shown, diagnosis.samples, every=every))
    hidden = findings[len(shown) :]
    if hidden:
        names = ", ".join(f"{finding.title.lower()} {finding.num_problems:,}" for finding in hidden)
        view.say(f"  and of less weight: {names} (--all)", style="dim")


def _diagnose(view: View, source: Source, held_out: Source | None, go_by: Options) -> tuple[Diagnosis, ...]:
    """The diagnosis of the file, and of the validation file where its lines are not sound."""
    from tailor.data.doctor import diagnose, diagnosis_of, read_corpus
    from tailor.data.problems import Findings

    validation: Corpus | None = None
    beside: tuple[Diagnosis, ...] = ()
    with view.people.status("Reading and checking"):
        if held_out is not None:
            findings = Findings()
            validation, num_lines = read_corpus(
                held_out.rows(), name=held_out.name, form=held_out.form, options=go_by, findings=findings
            )
            beside = (
                diagnosis_of(validation, findings, num_lines=num_lines, options=go_by, is_validation=True),
            )
        whole = diagnose(
            source.rows(), name=source.name, form=source.form, options=go_by, validation=validation
        )
    return (whole, *beside)


def _show_blocking(view: View, report: DataReport, *, every: bool) -> bool:
    """The problems that block, line by line; whether they were all told."""
    from tailor.cli.check import show_problems

    told = report.blocking if every else report.blocking[:_BLOCKING_ON_A_SCREEN]
    show_problems(view, told)
    rest = report.num_blocking - len(told)
    if rest:
        view.say(f"  and {rest:,} more that block; by kind:", style="dim")
    return not rest


def _show_figures(view: View, diagnosis: Diagnosis) -> None:
    """The shape of the lengths, and the classes, in a line each."""
    from tailor.cli.figures import printable, shortened, sparkline

    lengths, classes = diagnosis.figure("lengths"), diagnosis.figure("classes")
    if lengths is not None:
        parts = [
            f"{name} {sparkline(lengths[key]['counts'], width=24)} 0 to "
            f"{lengths[key]['step'] * len(lengths[key]['counts']):,}"
            for name, key in (("asked", "asked"), ("answered", "answered"))
            if len(lengths[key]["counts"]) > 3
        ]
        if parts:
            view.say(f"  tokens: {'; '.join(parts)}", style="dim")
    if classes is not None:
        largest = [f"{shortened(name, most=24)} {count:,}" for name, count in classes["counts"]]
        shown = ", ".join(largest if len(largest) < 6 else [*largest[:3], "...", *largest[-2:]])
        view.say(printable(f"  classes: {shown}"), style="dim")


def _table(findings: Sequence[Finding], samples: Mapping[int, Sample], *, every: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from tailor.cli.figures import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_header=False, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", ratio=3)
    table.add_column(overflow="fold", ratio=2)
    for finding in findings:
        mark, style = _SEVERITIES[finding.severity]
        told = Text(printable(finding.message))
        if finding.lines:
            told.append(f" {_lines(finding, samples)}", style="dim")
        for problem in finding.problems if every else ():
            place = f"{_place(problem.line, samples)}: " if problem.line else ""
            told.append(printable(f"\n{place}{problem.message}"), style="dim")
        remedy = Text(finding.remedy)
        if finding.fix:
            remedy.append(f" fix {finding.fix}", style="cyan")
        table.add_row(Text(mark, style=style), Text(finding.title, style="bold"), told, remedy)
    return table


def _lines(finding: Finding, samples: Mapping[int, Sample]) -> str:
    """Where: the first lines; in the order of the problems where these are ranked."""
    told = [problem.line for problem in finding.problems if problem.line is not None]
    lines = list(dict.fromkeys(told)) or list(finding.lines)
    if any(samples[line].where for line in lines[:1] if line in samples):
        first = ", ".join(_place(line, samples) for line in lines[:2])
        return f"({first}{' ...' if len(finding.lines) > 2 else ''})"
    noun = "line" if len(finding.lines) == 1 else "lines"
    first = ", ".join(f"{line:,}" for line in lines[:4])
    return f"({noun} {first}{' ...' if len(finding.lines) > 4 else ''})"


def _place(line: int, samples: Mapping[int, Sample]) -> str:
    sample = samples.get(line)
    return f"line {line:,}" if sample is None or sample.where is None else sample.where


def _goal(given: str | None) -> GoalName | None:
    from tailor.data.doctor.amounts import AMOUNTS
    from tailor.errors import InvalidRequest

    if given is not None and given not in AMOUNTS:
        raise InvalidRequest(f"There is no goal {given[:40]!r}.", remedy=f"Use one of {', '.join(AMOUNTS)}.")
    return given


def _seen(source: Source, base: Path | None) -> tuple[Seen, ...]:
    """The first examples as the model will see them; none where the template's library is not installed."""
    from tailor.cli.data.show import first_examples, seen_by

    try:
        return tuple(seen_by(base, first_examples(source, _SEEN_ON_A_PAGE)))
    except ModuleNotFoundError:
        return ()


def _write(path: Path, diagnosis: Diagnosis, seen: Sequence[Seen]) -> None:
    from tailor.data.report import page_of
    from tailor.errors import InvalidRequest

    try:
        path.write_text(page_of(diagnosis, seen=seen), encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(
            f"{path} cannot be written: {error.strerror}.", remedy="Name another file."
        ) from error


def _say_what_next(view: View, html: Path | None) -> None:
    if html is not None:
        view.say(f"The whole report: {html}", style="dim")
    else:
        view.say("Plots, groups and every line: --html report.html. Mend it: tailor data fix", style="dim")
