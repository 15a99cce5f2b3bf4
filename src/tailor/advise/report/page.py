"""Advice as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib.resources import files

from tailor.advise.advice import Advice
from tailor.advise.arms import ArmResult, Shown
from tailor.advise.report.plots import Bar, forest, learning, trade
from tailor.advise.wording import amount, before_the_run


def page_of(advice: Advice) -> str:
    """The page."""
    sections = (
        _head(advice),
        _plots(advice),
        _arms(advice),
        _tests(advice),
        _formulas(advice),
        _prompts(advice),
    )
    body = "".join(part for section in sections for part in section)
    style = "".join(
        files(room).joinpath("page.css").read_text(encoding="utf-8")
        for room in ("tailor.data.report", "tailor.advise.report")
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(advice.evidence.study.material.name)}: advice</title><style>{style}</style></head>"
        f"<body><main>{body}<footer><p>Not measured: {escape('; '.join(advice.verdict.not_measured))}.</p>"
        "<p>Written by tailor. Intervals are 95 %; p-values are corrected for all comparisons (Holm).</p>"
        "</footer></main></body></html>\n"
    )


def _head(advice: Advice) -> Iterator[str]:
    study, verdict = advice.evidence.study, advice.verdict
    parts, measure = study.parts, study.material.measure
    yield f"<h1>{escape(study.material.name)}</h1>"
    kind = str(measure)
    about = f"{kind[:1].upper()}{kind[1:]}. Right is {measure.sentence}. {before_the_run(study)}"
    yield f'<p class="soft">{escape(about)}</p>'
    colour = "good" if verdict.arm else "bad"
    yield f'<p class="verdict {colour}">{escape(verdict.headline)}</p>'
    if not verdict.is_certain:
        yield '<p class="soft">Not certain: a dearer arm may be better, and these items cannot tell.</p>'
    out = [f"{', '.join(names)}: {reason}" for reason, names in advice.barred_by_reason().items()]
    skipped = [f"{each.arm.name}: {each.reason}" for each in advice.skipped]
    yield '<dl class="why">'
    for title, lines in (
        ("Because", verdict.because),
        ("Costs", verdict.costs),
        ("Would change with", verdict.changes),
        ("Cannot be taken", out),
        ("Not run", skipped),
    ):
        if lines:
            yield f"<dt>{title}</dt>" + "".join(f"<dd>{escape(line)}</dd>" for line in lines)
    yield "</dl>"
    yield '<div class="numbers">'
    yield _number(f"{len(parts.train):,}", "examples to learn from")
    yield _number(f"{len(parts.development):,}", "to choose prompts by")
    yield _number(f"{len(parts.held_out):,}", "held out: everything is judged by them")
    yield _number(f"{advice.evidence.floor_quality:.1%}", "for always giving the most usual answer")
    for curve in advice.evidence.curves[:1]:
        if gain := curve.gain():
            yield _number(
                f"{100 * gain.value:+.0f} ({100 * gain.low:.0f} to {100 * gain.high:.0f})",
                f"points with twice the data ({curve.of})",
            )
    yield "</div>"


def _plots(advice: Advice) -> Iterator[str]:
    unit = advice.evidence.unit
    yield '<h2>What was measured</h2><div class="plots">'
    bars = [
        Bar(each.arm.name, each.quality, each.interval.low, each.interval.high, _class(advice, each))
        for each in advice.evidence.results
    ]
    yield _plot(
        f"Quality: {unit}",
        forest(bars, floor_at=advice.evidence.floor_quality, label="quality of every arm"),
        "Points with 95 % intervals, all on the same items. Dashed: always the most usual answer.",
    )
    if advice.evidence.curves:
        yield _plot(
            "Learning curve",
            learning(advice.evidence.curves, label="quality by examples"),
            " ".join(f"{curve.of.capitalize()}: {curve.sentence}" for curve in advice.evidence.curves),
        )
    priced = [
        (each.arm.name, float(cost.value), each.quality, _class(advice, each))
        for each in advice.evidence.results
        if (cost := advice.evidence.costs[each.arm.name].thousand) is not None and cost.value > 0
    ]
    if priced:
        currency = next(iter(advice.evidence.costs.values())).setup.currency
        yield _plot(
            "Quality over price",
            trade(priced, currency=currency, label="quality over the price of 1,000 requests"),
            f"{currency} for 1,000 requests, by powers of ten. Point at a dot for its name.",
        )
    yield "</div>"


def _arms(advice: Advice) -> Iterator[str]:
    unit = advice.evidence.unit
    heads = ("arm", unit, "95 %", "p50 ms", "p95 ms", "tokens in", "out", "set-up", "1,000 requests")
    yield '<h2>The arms</h2><div class="wide"><table class="arms"><thead><tr>'
    yield "".join(f"<th>{head}</th>" for head in heads) + "</tr></thead><tbody>"
    for result in advice.evidence.results:
        around, cost = result.interval, advice.evidence.costs[result.arm.name]
        p50, p95 = result.latency_ms(50), result.latency_ms(95)
        cells = (
            escape(result.arm.name),
            f"{result.quality:.1%}",
            f"{100 * around.low:.1f} to {100 * around.high:.1f}",
            "" if p50 is None else f"{p50:,.1f}",
            "" if p95 is None else f"{p95:,.1f}",
            f"{result.prompt_tokens:,.0f}" if result.prompt_tokens else "",
            f"{result.completion_tokens:,.0f}" if result.completion_tokens else "",
            amount(cost.setup),
            "not known" if cost.thousand is None else amount(cost.thousand),
        )
        yield (
            f'<tr class="{_class(advice, result)}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        )
    yield "</tbody></table></div>"


def _tests(advice: Advice) -> Iterator[str]:
    rows = advice.evidence.contests.to_dict()
    if not rows:
        return
    yield "<details><summary>Every arm against every other</summary><table><thead><tr><th>arm</th>"
    yield "<th>against</th><th>points</th><th>95 %</th><th>p, corrected</th><th>test</th></tr></thead><tbody>"
    for row in rows:
        low, high = row["interval"]["low"], row["interval"]["high"]
        cells = (
            escape(row["arm"]),
            escape(row["against"]),
            f"{100 * row['difference']:+.1f}",
            f"{100 * low:+.1f} to {100 * high:+.1f}",
            "&lt; 0.001" if row["p_value"] < 0.001 else f"{row['p_value']:.3f}",
            escape(row["test"]),
        )
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    yield "</tbody></table></details>"


def _formulas(advice: Advice) -> Iterator[str]:
    yield "<details><summary>How costs were reckoned</summary>"
    for result in advice.evidence.results:
        cost = advice.evidence.costs[result.arm.name]
        said = "\n".join(figure.explain() for figure in (cost.setup, cost.thousand) if figure is not None)
        yield f'<h3>{escape(result.arm.name)}</h3><pre class="mono">{escape(said)}</pre>'
    yield "</details>"


def _prompts(advice: Advice) -> Iterator[str]:
    yield "<h2>What was sent, word for word</h2>"
    for result in advice.evidence.results:
        notes = " ".join(result.notes)
        about = f"{result.arm.traits.what}. {notes}".strip()
        yield (
            f'<section class="card minor"><header><b>{escape(result.arm.name)}</b>'
            f'<span class="count">{result.quality:.1%}</span></header><p class="why">{escape(about)}</p>'
        )
        for shown in result.shown:
            yield from _shown(shown)
        yield "</section>"


def _shown(shown: Shown) -> Iterator[str]:
    yield f"<details><summary>line {shown.line}: {shown.score:.0%} right</summary>"
    for message in shown.sent:
        yield _turn(str(message.get("role")), str(message.get("content") or ""), "")
    if shown.sources:
        yield _turn("found in", ", ".join(shown.sources), "")
    yield _turn("answered", shown.answer, "said") + _turn("expected", shown.expected, "") + "</details>"


def _turn(who: str, text: str, kind: str) -> str:
    return f'<div class="turn {kind}"><b>{escape(who)}</b>{escape(text)}</div>'


def _class(advice: Advice, result: ArmResult) -> str:
    if result.arm.name == advice.verdict.arm:
        return "chosen"
    return "out" if any(each.name == result.arm.name for each in advice.verdict.barred) else "free"


def _plot(title: str, plot: str, words: str) -> str:
    return f'<div class="plot"><h3>{escape(title)}</h3>{plot}<p>{escape(words)}</p></div>'


def _number(value: str, words: str) -> str:
    return f'<div class="number"><b>{escape(value)}</b><span>{escape(words)}</span></div>'
