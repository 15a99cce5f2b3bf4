"""A run as one page for people: no script, nothing from elsewhere, every text escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, Final

from tailor.grading import wilson
from tailor.store import Eval, EvalItem, EvalRun

STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #f6f7f9; margin: 0; }
main { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.card, table, details { background: #fff; border: 1px solid #e3e6eb; }
.card { border-radius: 8px; padding: 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid #e3e6eb; vertical-align: top; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: .2rem 0 .8rem; }
pre { font: 13px/1.45 ui-monospace, monospace; }
details { border-radius: 6px; margin: .4rem 0; padding: .4rem .8rem; }
summary { cursor: pointer; }
.quiet { color: #667085; }
.pass { color: #08724f; }
.fail { color: #b42318; }
.error { color: #93570a; }
@media (prefers-color-scheme: dark) {
  body { background: #10151c; color: #dfe5ee; }
  .card, table, details { background: #18202a; }
  .card, table, details, th, td { border-color: #2b3643; }
  .pass { color: #4ccb9f; }
  .fail { color: #ff8a7d; }
  .error { color: #f0b860; }
}
"""
_MAX_TEXT: Final = 4000


def report_page(run: EvalRun, evaluation: Eval, items: Sequence[EvalItem]) -> str:
    """The page; `items` are shown in their order."""
    tally = run.tally
    done = tally.passed + tally.failed + tally.errored
    judged = f" · {escape(run.model)}" if run.model else ""
    parts = [
        f"<h1>{escape(run.name)}</h1>",
        f'<p class="quiet">{escape(evaluation.name)}{judged} · {escape(run.status.replace("_", " "))}</p>',
        f'<div class="card">{_headline(run, done)}</div>',
        _error(run),
        "<h2>Criteria</h2>",
        table(
            ("criterion", "type", "passed", "of", "share", "95 % interval"),
            _criteria(run, evaluation),
            num_texts=2,
        ),
        _usage(run),
        f"<h2>Rows</h2><p class=quiet>{_shown(len(items), done)}</p>",
        *map(_item, items),
    ]
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>{escape(run.name)} · {escape(evaluation.name)}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>"
    )


def _headline(run: EvalRun, done: int) -> str:
    tally = run.tally
    share = f"<strong>{tally.passed / done:.1%}</strong> passed" if done else "nothing is graded yet"
    counts = (
        f'<span class="pass">{tally.passed} passed</span>, <span class="fail">{tally.failed} failed</span>, '
        f'<span class="error">{tally.errored} not gradable</span>, {done} of {run.total} rows done'
    )
    return f"{share}<br>{counts}"


def _error(run: EvalRun) -> str:
    if not run.error:
        return ""
    told = escape(str(run.error.get("message")))
    return f'<h2>What went wrong</h2><div class="card error">{told}</div>'


def _criteria(run: EvalRun, evaluation: Eval) -> Iterable[tuple[str, ...]]:
    for criterion, (passed, failed) in zip(evaluation.testing_criteria, run.tally.criteria, strict=True):
        total = passed + failed
        interval = wilson(passed, total) if total else None
        yield (
            str(criterion.get("name") or criterion["type"]),
            str(criterion["type"]),
            str(passed),
            str(total),
            f"{passed / total:.1%}" if total else "-",
            f"{interval.low:.1%} to {interval.high:.1%}" if interval else "-",
        )


def _usage(run: EvalRun) -> str:
    if not run.tally.usage:
        return ""
    rows = (
        (
            model,
            f"{counts.get('invocations', 0):,}",
            f"{counts.get('prompt_tokens', 0):,}",
            f"{counts.get('completion_tokens', 0):,}",
        )
        for model, counts in run.tally.usage.items()
    )
    return "<h2>Models</h2>" + table(
        ("model", "questions", "prompt tokens", "answer tokens"), rows, num_texts=1
    )


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], *, num_texts: int) -> str:
    """A table whose first columns are text and whose others are numbers."""

    def cells(values: tuple[str, ...], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=number' if number >= num_texts else ''}>{escape(value)}</{tag}>"
            for number, value in enumerate(values)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><tr>{cells(head, 'th')}</tr>{body}</table>"


def _shown(shown: int, done: int) -> str:
    return f"{shown} of {done}; what went wrong comes first." if done else "None yet."


def _item(item: EvalItem) -> str:
    status = item.status or "error"
    verdicts = "".join(_verdict(result) for result in item.results or ())
    sample = item.sample or {}
    error = sample.get("error")
    answer = _answer(item)
    return (
        f'<details><summary><span class="{status}">{status}</span> row {item.position} '
        f'<span class="quiet">{escape(answer[:120])}</span></summary>'
        f"<strong>item</strong><pre>{_text(json.dumps(item.row['item'], ensure_ascii=False, indent=1))}</pre>"
        f"<strong>answer</strong><pre>{_text(answer)}</pre>"
        + (f'<p class="error">{escape(str(error.get("message")))}</p>' if error else "")
        + verdicts
        + "</details>"
    )


def _verdict(result: dict[str, Any]) -> str:
    style, word = ("pass", "passed") if result["passed"] else ("fail", "failed")
    problems = "; ".join(map(str, (result.get("tailor") or {}).get("problems") or ()))
    said = _judgement(result.get("sample"))
    return (
        f'<p><span class="{style}">{word}</span> {escape(str(result["name"]))}: {float(result["score"]):.4g}'
        + (f' <span class="error">{escape(problems)}</span>' if problems else "")
        + "</p>"
        + (f"<pre>{_text(said)}</pre>" if said else "")
    )


def _judgement(exchange: Any) -> str:
    output = exchange.get("output") if isinstance(exchange, dict) else None
    return (
        "\n".join(str(message.get("content", "")) for message in output) if isinstance(output, list) else ""
    )


def _answer(item: EvalItem) -> str:
    if item.sample is not None:
        output = item.sample.get("output") or [{}]
        return str(output[0].get("content", ""))
    return str((item.row.get("sample") or {}).get("output_text", ""))


def _text(text: str) -> str:
    return escape(text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} ... ({len(text):,} characters)")
