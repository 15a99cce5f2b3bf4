"""A comparison as one page for people: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from tailor.protocol.comparisons import ComparedItem, ComparedPair, Comparison
from tailor.server.report import STYLE, table


def comparison_page(found: Comparison) -> str:
    """The page."""
    parts = [
        f"<h1>{escape(found.name)}</h1>",
        f'<p class="quiet">{found.num_items:,} items · {escape(found.status.replace("_", " "))}</p>',
        table(("model", "score", "95 % interval", "passed", "answer tokens"), _models(found), num_texts=1),
        *map(_pair, found.pairs),
        *(f'<p class="error">{escape(note)}</p>' for note in found.notes),
        f"<h2>Items on which the models differ</h2>{''.join(_item(found, item) for item in found.items)}"
        if found.items
        else "",
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(found.name)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _models(found: Comparison) -> Iterator[tuple[str, ...]]:
    for each in found.models:
        yield (
            each.model,
            "-" if each.score is None else f"{each.score:.1%}",
            f"{each.interval.low:.1%} to {each.interval.high:.1%}" if each.interval else "-",
            f"{each.passed:,} of {each.num_done:,}",
            f"{each.completion_tokens:,}",
        )


def _pair(pair: ComparedPair) -> str:
    style = {"better": "pass", "worse": "fail"}.get(pair.verdict, "quiet")
    clusters = "".join(
        f"<li>{each.count} {each.outcome}: <strong>{escape(', '.join(each.words))}</strong>"
        f'<span class="quiet"> {escape(each.examples[0])}</span></li>'
        for each in pair.clusters
    )
    return (
        f'<h2 class="{style}">{escape(pair.sentence)}</h2>'
        f"<p>fixed {pair.fixed:,}, broken {pair.broken:,}, unchanged {pair.unchanged:,}</p>"
        + (f"<ul>{clusters}</ul>" if clusters else "")
    )


def _item(found: Comparison, item: ComparedItem) -> str:
    answers = "".join(
        f'<p><span class="{"pass" if score >= 0.5 else "fail"}">{score:g}</span> {escape(each.model)}</p>'
        f"<pre>{escape(answer)}</pre>"
        for each, score, answer in zip(found.models, item.scores, item.answers, strict=True)
    )
    return (
        f"<details><summary>line {item.line} "
        f'<span class="quiet">{escape(item.prompt[:120])}</span></summary>'
        f"<strong>asked</strong><pre>{escape(item.prompt)}</pre>"
        f"<strong>expected</strong><pre>{escape(item.expected)}</pre>{answers}</details>"
    )
