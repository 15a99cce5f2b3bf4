"""A diagnosis as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from typing import Final

from tailor.data.doctor.findings import Diagnosis, Finding
from tailor.data.report.plots import bars, histogram, scatter, stack
from tailor.data.report.seen import Seen

_MINOR: Final = 0.02
"""Findings of less weight are drawn quietly."""

_MOST_CHIPS: Final = 200


def page_of(diagnosis: Diagnosis, *, seen: Sequence[Seen] = ()) -> str:
    """The page. `seen`: examples as the model will see them."""
    body = "".join(
        part
        for section in (
            _head(diagnosis),
            _findings(diagnosis),
            _plots(diagnosis),
            _seen(seen),
            _samples(diagnosis),
        )
        for part in section
    )
    style = files("tailor.data.report").joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(diagnosis.file)}: data report</title><style>{style}</style></head>"
        f"<body><main>{body}<footer>{_footer(diagnosis)}</footer></main></body></html>\n"
    )


def _head(diagnosis: Diagnosis) -> Iterator[str]:
    report, tokens = diagnosis.report, diagnosis.tokens
    yield f"<h1>{escape(diagnosis.file)}</h1>"
    held = f", held against {escape(diagnosis.validation)}" if diagnosis.validation else ""
    yield f'<p class="soft">Looks like {escape(str(diagnosis.task))}{held}.</p>'
    count = sum(finding.severity == "advice" for finding in diagnosis.findings)
    advice = f"{count} {'thing' if count == 1 else 'things'} worth a look" if count else "nothing to remark"
    if report.ok:
        yield f'<p class="verdict good">Ready to train on: {advice}.</p>'
    else:
        noun = "problem" if report.num_blocking == 1 else "problems"
        yield f'<p class="verdict bad">{report.num_blocking:,} {noun} must be mended first; {advice}.</p>'
    yield '<div class="numbers">'
    yield _number(f"{report.num_examples:,}", f"valid examples of {report.num_lines:,}")
    copies = diagnosis.figure("copies")
    if copies:
        yield _number(f"{copies['own']:,}", "different ones")
    if tokens:
        yield _number(f"{tokens.median:,}", f"tokens in an example, at most {tokens.longest:,}")
        yield _number(
            f"{tokens.total:,}", f"tokens, {tokens.learnt / max(tokens.total, 1):.0%} of them learnt"
        )
        yield _number(f"{tokens.trained:,}", f"tokens trained in {tokens.epochs} epochs")
    labels = diagnosis.figure("labels")
    if labels:
        yield _number(f"{labels['agreement']:.1%}", "of the labels a simple model gives too")
    yield "</div>"


def _findings(diagnosis: Diagnosis) -> Iterator[str]:
    if diagnosis.findings:
        yield "<h2>What was found</h2>"
    known = set(diagnosis.samples)
    for finding in diagnosis.findings:
        yield from _card(finding, known)


def _card(finding: Finding, known: set[int]) -> Iterator[str]:
    is_blocking = finding.severity == "blocking"
    kind = "blocking" if is_blocking else "minor" if finding.weight < _MINOR else ""
    tag = '<span class="tag">blocks training</span>' if is_blocking else ""
    count = (
        f"{len(finding.lines):,} {'line' if len(finding.lines) == 1 else 'lines'}" if finding.lines else ""
    )
    fix = f"<code>tailor data fix FILE -o OUT.jsonl {escape(finding.fix)}</code>" if finding.fix else ""
    yield (
        f'<section class="card {kind}" id="{escape(finding.code)}">'
        f"<header><b>{escape(finding.title)}</b>{tag}"
        f'<span class="count">{count}</span></header><p>{escape(finding.message)}</p>'
        f'<p class="why">{escape(finding.why)}</p><p class="do">{escape(finding.remedy)}{fix}</p>'
    )
    here = known if finding.file is None else set()
    told = [problem for problem in finding.problems if problem.line is not None]
    if told or len(finding.lines) > 1:
        most = f"the first {len(told)}" if finding.num_problems > len(told) else "all"
        yield f"<details><summary>{'Lines' if not told else f'Show {most}'}</summary>"
        if told:
            rows = "".join(
                f'<tr><td class="at">{_line(problem.line, here)}</td><td>{escape(problem.message)}</td></tr>'
                for problem in told
            )
            yield f"<table><tbody>{rows}</tbody></table>"
        if len(finding.lines) > len(told):
            chips = "".join(f"<span>{_line(line, here)}</span>" for line in finding.lines[:_MOST_CHIPS])
            rest = len(finding.lines) - _MOST_CHIPS
            yield f'<div class="lines">{chips}{f"<span>and {rest:,} more</span>" if rest > 0 else ""}</div>'
        yield "</details>"
    yield "</section>"


def _plots(diagnosis: Diagnosis) -> Iterator[str]:
    drawn = list(_drawn(diagnosis))
    if drawn:
        yield '<h2>What is in it</h2><div class="plots">'
        for title, plot, words in drawn:
            yield f'<div class="plot"><h3>{escape(title)}</h3>{plot}<p>{escape(words)}</p></div>'
        yield "</div>"


def _drawn(diagnosis: Diagnosis) -> Iterator[tuple[str, str, str]]:
    tokens = diagnosis.tokens
    how = f"Counted with: {tokens.counted_with}." if tokens else ""
    lengths = diagnosis.figure("lengths")
    if lengths:
        context = lengths["context"]
        if diagnosis.task.kind != "text":
            yield (
                "Length of what is asked, in tokens",
                histogram(lengths["asked"], label="tokens asked", limit=context),
                f"Longest: {lengths['asked']['longest']:,}. {how}",
            )
        if diagnosis.task.kind not in ("reinforcement", "classification"):
            yield (
                "Length of answers, in tokens",
                histogram(lengths["answered"], label="tokens answered", limit=context),
                f"Longest: {lengths['answered']['longest']:,}. {how}",
            )
    classes = diagnosis.figure("classes")
    if classes:
        pairs = [(label, count) for label, count in classes["counts"]]
        yield (
            f"Classes ({classes['num_labels']:,})",
            bars(pairs, label="classes"),
            "Examples of each class, the most frequent first.",
        )
    copies = diagnosis.figure("copies")
    if copies:
        parts = [("different", copies["own"], "own"), ("near copies", copies["near"], "near"),
                 ("exact copies", copies["exact"], "exact")]  # fmt: skip
        yield "Copies", stack(parts, label="copies"), "Copies weigh like new examples and teach nothing new."
    drawn = diagnosis.figure("map")
    if drawn:
        yield (
            "Map: like examples lie together",
            scatter(drawn, label="map of the examples"),
            f"{len(drawn['points']):,} of {drawn['num_grouped']:,} grouped examples. Near means like; "
            "the axes mean nothing else.",
        )
        pairs = sorted(((words, size) for words, size in drawn["groups"]), key=lambda pair: -pair[1])
        yield (
            "Groups",
            bars(pairs, label="groups"),
            "What the examples are about, by their most telling words.",
        )
    languages = diagnosis.figure("languages")
    if languages and len(languages["asked"]) > 2:
        yield (
            "Languages of what is asked",
            bars(list(languages["asked"].items()), label="languages", most=12),
            "Of texts long enough to tell.",
        )


def _seen(seen: Sequence[Seen]) -> Iterator[str]:
    if not seen:
        return
    yield "<h2>What the model will see</h2>"
    yield '<p class="soft">Every token of the first examples, as the chat template writes them. '
    yield "Green ones are learnt.</p>"
    for example in seen:
        cut = f", {example.num_cut:,} cut off" if example.num_cut else ""
        yield (
            f'<div class="plot"><h3>Line {example.line}: {len(example.tokens):,} tokens, '
            f'{example.num_learnt:,} learnt{cut}</h3><div class="seen mono">'
        )
        was_cut = False
        for is_learnt, is_cut, texts in example.runs():
            if is_cut and not was_cut:
                yield f'<span class="edge">\u2702 the model holds {example.context:,} tokens</span>'
                was_cut = True
            kinds = " ".join(name for name, has in (("learnt", is_learnt), ("cut", is_cut)) if has)
            yield "".join(f'<i class="{kinds}">{escape(_visible(text))}</i>' for text in texts if text)
        yield "</div></div>"


def _samples(diagnosis: Diagnosis) -> Iterator[str]:
    if not diagnosis.samples:
        return
    yield "<h2>The lines spoken of</h2>"
    yield "<table><thead><tr><th>line</th><th>asked</th><th>answered</th></tr></thead><tbody>"
    for line, sample in diagnosis.samples.items():
        where = f'<br><span class="soft">{escape(sample.where)}</span>' if sample.where else ""
        yield (
            f'<tr id="L{line}"><td class="at">{line:,}{where}</td>'
            f'<td class="text">{escape(_cut(sample.asked))}</td>'
            f'<td class="text">{escape(_cut(sample.answer))}</td></tr>'
        )
    yield "</tbody></table>"


def _footer(diagnosis: Diagnosis) -> str:
    notes = "".join(f"<p>{escape(sentence)}</p>" for sentence in diagnosis.unchecked)
    return f"{notes}<p>Written by tailor. Nothing was changed; training does not wait for advice.</p>"


def _number(value: str, words: str) -> str:
    return f'<div class="number"><b>{escape(value)}</b><span>{escape(words)}</span></div>'


def _line(line: int | None, known: set[int]) -> str:
    return f'<a href="#L{line}">{line:,}</a>' if line in known else f"{line:,}"


def _cut(text: str) -> str:
    return text if len(text) < 300 else text + " \u2026"


def _visible(text: str) -> str:
    """A token with its line end shown."""
    return text.replace("\n", "\u21b5\n")
