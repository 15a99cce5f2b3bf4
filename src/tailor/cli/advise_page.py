"""The verdict on a terminal: one screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from tailor.advise.advice import Advice
    from tailor.advise.arms import ArmResult
    from tailor.advise.evidence import Evidence
    from tailor.cli.view import View

_WIDE = 110
_TOKENS = ("tokens in / out",)


def show(view: View, advice: Advice) -> None:
    """The table of arms, and the verdict with its reasons."""
    verdict = advice.verdict
    view.say()
    view.people.print(_table(advice, is_narrow=view.people.width < _WIDE))
    style = "bold green" if verdict.arm else "bold yellow"
    view.say(verdict.headline, style=style)
    if not verdict.is_certain:
        view.say("Not certain: a dearer arm may be better, and these items cannot tell.", style="yellow")
    out = [f"{', '.join(names)}: {reason}" for reason, names in advice.barred_by_reason().items()]
    view.people.print(
        _lines(
            ("because", verdict.because),
            ("costs", verdict.costs),
            ("would change with", verdict.changes),
            ("cannot be taken", out),
            ("not run", [f"{each.arm.name}: {each.reason}" for each in advice.skipped]),
            ("not measured", [f"{'; '.join(verdict.not_measured)}."]),
        )
    )
    chosen = advice.evidence.result(verdict.arm) if verdict.arm else None
    if chosen is not None and chosen.made:
        view.say(f"It is made: {chosen.made}", style="bold")


def _lines(*parts: tuple[str, Sequence[str]]) -> Table:
    """Titles on the left, what there is to say about each on the right."""
    from rich.table import Table
    from rich.text import Text

    from tailor.cli.figures import printable

    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for title, lines in parts:
        for place, line in enumerate(lines):
            table.add_row(title if place == 0 else "", Text(printable(line)))
    return table


def _table(advice: Advice, *, is_narrow: bool) -> Table:
    """A line for each arm; a narrow one leaves the tokens out, which the price is made of."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    found = advice.evidence
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("arm", overflow="fold")
    for title in (found.unit, "95 %", "p50 / p95 ms", *_TOKENS[is_narrow:], "1,000 requests"):
        table.add_column(title, justify="right", no_wrap=True)
    for result in found.results:
        is_chosen = result.arm.name == advice.verdict.arm
        name = ("▸ " if is_chosen else "  ") + result.arm.name
        table.add_row(Text(name, style="bold green" if is_chosen else ""), *_cells(found, result, is_narrow))
    usual = Text("  always the most usual answer", style="dim")
    table.add_row(usual, f"{found.floor_quality:.1%}")
    return table


def _cells(found: Evidence, result: ArmResult, is_narrow: bool) -> Iterator[str]:
    from tailor.advise.wording import amount

    around = result.interval
    p50, p95 = result.latency_ms(50), result.latency_ms(95)
    thousand = found.costs[result.arm.name].thousand
    yield f"{result.quality:.1%}"
    yield f"{100 * around.low:.1f} to {100 * around.high:.1f}"
    yield "" if p50 is None or p95 is None else f"{p50:,.0f} / {p95:,.0f}"
    if not is_narrow:
        yield f"{result.prompt_tokens:,.0f} / {result.completion_tokens:,.0f}" if result.prompt_tokens else ""
    yield "not known" if thousand is None else amount(thousand)
