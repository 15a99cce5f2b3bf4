"""What is said about a verdict: the evidence, the costs, what would change it, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final

from tailor.advise.arms import ArmResult, Means
from tailor.advise.contests import ALPHA, is_as_good
from tailor.advise.costs import duration
from tailor.advise.evidence import Evidence
from tailor.advise.figures import Figure
from tailor.advise.pricing import Cost, pays_back, saved_a_month
from tailor.advise.study import Study
from tailor.advise.tuning import SMALL_PARAMETERS
from tailor.advise.verdict import FEW_EXAMPLES, WORTH_BY_MONTHS, Circumstances
from tailor.grading import minimum_detectable, minimum_detectable_mean
from tailor.grading.power import in_points

_USABLE: Final = 0.5
"""Share right below which the best is said not to be good."""

_SPREAD: Final = 0.25
"""What two arms' scores of one item are taken to differ by, before it is known."""


def before_the_run(study: Study) -> str:
    """What difference so many held-out items can show, said before anything is asked."""
    items = len(study.parts.held_out)
    if not study.material.measure.is_pass_or_fail:
        least = minimum_detectable_mean(items, _SPREAD)
        if least is None:
            return f"With {items:,} held-out items no difference can be seen."
        return (
            f"With {items:,} held-out items you can see {in_points(least)} where two answers to one item "
            f"differ by {100 * _SPREAD:.0f}."
        )
    best, usual = minimum_detectable(items), minimum_detectable(items, discordance=0.1)
    if best.difference is None:
        return f"With {items:,} held-out items no difference can be seen."
    tail = f", and {in_points(usual.difference)} where one in ten answers changes" if usual.difference else ""
    return f"With {items:,} held-out items you can see {in_points(best.difference)} at best{tail}."


_DO: Final[dict[Means, str]] = {
    "prompt": "Do nothing more, the prompt as it is does the task",
    "structured": "Do not fine-tune, name the form of the answer in the prompt",
    "classical": "Do not fine-tune, and use no language model",
    "lookup": "Do not fine-tune, look answers up",
    "few-shot": "Do not fine-tune, put examples into the prompt",
    "optimised": "Do not fine-tune, take the better prompt",
    "retrieval": "Do not fine-tune, look passages up and put them into the prompt",
    "tuned": "Fine-tune",
    "distilled": "Fine-tune on the stronger model's answers",
}


def headline(chosen: ArmResult, unit: str) -> str:
    """What to do, in one sentence with its figure."""
    around = chosen.interval
    return (
        f"{_DO[chosen.arm.means]}: {chosen.arm.name}, {chosen.quality:.1%} {unit} "
        f"({100 * around.low:.1f} to {100 * around.high:.1f})."
    )


def reasons(chosen: ArmResult, found: Evidence) -> list[str]:
    """Against the best of what is cheaper and the best of the rest; then what the circumstances say."""
    said = []
    others = [result for result in found.free if result is not chosen]
    effort = chosen.arm.traits.effort
    cheaper = [result for result in others if result.arm.traits.effort <= effort]
    dearer = [result for result in others if result.arm.traits.effort > effort]
    if cheaper:
        best = max(cheaper, key=lambda result: result.quality)
        how = "cheaper" if best.arm.traits.effort < effort else "equally cheap"
        said.append(f"The best {how} way, {best.arm.name}: {_against(best, chosen, found)}")
    if dearer:
        best = max(dearer, key=lambda result: result.quality)
        tail = ""
        if found.contests.is_better(best.arm.name, chosen.arm.name):
            tail = f" That is within the {100 * found.circumstances.margin:g} points a cheaper way may lose."
        said.append(f"The best of the others, {best.arm.name}: {_against(best, chosen, found)}{tail}")
    return said + _of_circumstances(chosen, found.circumstances)


def cautions(chosen: ArmResult, found: Evidence) -> list[str]:
    """What to know before one takes the best for good."""
    if found.study.material.measure.is_pass_or_fail and chosen.quality < _USABLE:
        return ["Most answers are still wrong: it is the best of what was tried, and not ready for use."]
    return []


def _of_circumstances(chosen: ArmResult, circumstances: Circumstances) -> list[str]:
    said = []
    traits, changes = chosen.arm.traits, circumstances.knowledge_changes
    if circumstances.goes_stale and traits.has_sources:
        said.append(
            f"What answers rest on changes {changes}: what is looked up is changed in a minute, what was "
            "trained must be trained again."
        )
    elif circumstances.goes_stale and traits.is_trained:
        said.append(
            f"What answers rest on changes {changes}, but no arm that looks things up came near on your "
            "items: train for the form, and look the facts up (that was not measured together)."
        )
    elif changes == "monthly" and traits.is_trained:
        said.append(f"What answers rest on changes monthly: train again then ({chosen.setup.seconds:.0f} s).")
    if circumstances.needs_sources:
        said.append("Answers must have sources: only arms that look things up have them.")
    return said


def _against(other: ArmResult, chosen: ArmResult, found: Evidence) -> str:
    difference = found.contests.of(chosen.arm.name, other.arm.name)
    points, low, high = (100 * part for part in (difference.mean, difference.low, difference.high))
    shown = "p < 0.001" if difference.p < 0.001 else f"corrected p = {difference.p:.3f}"
    sure = "" if difference.p < ALPHA else ": no difference is shown"
    return f"{other.quality:.1%}, {points:+.1f} points ({low:+.1f} to {high:+.1f}, {shown}){sure}."


def in_use(results: Sequence[ArmResult]) -> ArmResult | None:
    """What the task would be done with today, to reckon against: the best prompt of a model elsewhere."""
    asked = [result for result in results if result.arm.is_elsewhere and not result.arm.traits.is_trained]
    return max(asked, key=lambda result: result.quality, default=None)


def cost_lines(chosen: ArmResult, found: Evidence) -> list[str]:
    """What it costs, and when it pays back against what would be done today."""
    cost, volume = found.costs[chosen.arm.name], found.circumstances.volume
    thousand = cost.thousand
    if thousand is None:
        return [f"There is no price of {chosen.arm.model} here: give one with --prices."]
    lines = [f"Set-up {amount(cost.setup)}; 1,000 requests {amount(thousand)}."]
    if volume is not None and (month := cost.month(volume)):
        lines.append(f"At {volume:,.0f} requests a month: {amount(month)} a month.")
    today = in_use(found.free)
    if today is not None and today is not chosen:
        lines += _pays(cost, today, found.costs[today.arm.name], volume)
    return lines


def _pays(cost: Cost, today: ArmResult, before: Cost, volume: Decimal | None) -> list[str]:
    if before.thousand is None or cost.thousand is None:
        return []
    against = f"Against {today.arm.name} ({today.quality:.1%}, {amount(before.thousand)} for 1,000)"
    if before.thousand.value <= cost.thousand.value:
        return [f"{against} it saves nothing: it is taken for its quality."]
    if volume is None:
        return [f"{against}: --volume says when it pays back."]
    months = pays_back(before, cost, volume)
    return [f"{against} it pays back: {'never' if months is None else duration(months)}."]


def amount(figure: Figure) -> str:
    """Money for a page: two digits that count below a cent, and nothing where there is next to nothing."""
    if figure.value >= Decimal("0.01"):
        return f"{figure.currency} {figure.value:,.2f}"
    if figure.value < Decimal("0.000001"):
        return f"{figure.currency} 0.00"
    return f"{figure.currency} {round(figure.value, 1 - figure.value.adjusted()):f}"


def would_change(chosen: ArmResult, found: Evidence) -> list[str]:
    """What would make the verdict another one."""
    study, circumstances, said = found.study, found.circumstances, []
    for curve in found.curves:
        if curve.of == "tuned" or len(found.curves) == 1:
            what = "Tuning" if curve.of == "tuned" else "The classical model"
            said.append(f"More data. {what}, {curve.sentence}")
    best = max(found.free, key=lambda result: result.quality)
    gap = best.quality - chosen.quality
    if gap >= circumstances.margin and not is_as_good(chosen, best, margin=circumstances.margin):
        said.append(
            f"More held-out items: {best.arm.name} is {100 * gap:.1f} points ahead here, and "
            f"{len(chosen.scores)} items do not show that it is better."
        )
    said += _would_save(chosen, found)
    if len(study.parts.train) < FEW_EXAMPLES:
        said.append(f"{FEW_EXAMPLES} examples to train on; there are {len(study.parts.train)}.")
    parameters = (study.base.tailor or {}).get("parameters") or 0
    if 0 < parameters < SMALL_PARAMETERS:
        said.append(
            f"A stronger base: {study.base.id} has {parameters / 1e6:.1f} M parameters, so prompts and "
            "examples do little for it (`tailor models add`, --base)."
        )
    if not study.others:
        said.append("A strong model elsewhere (--models): its prompt arms, and distilling from it.")
    if circumstances.volume is None:
        said.append("The volume, if a dearer set-up would save money (--volume).")
    return said


def _would_save(chosen: ArmResult, found: Evidence) -> list[str]:
    """The arm that would save most, if so few items could show that it is as good."""
    volume, margin = found.circumstances.volume, found.circumstances.margin
    cost = found.costs[chosen.arm.name]
    savings = []
    for result in found.free:
        other = found.costs[result.arm.name]
        saving, months = saved_a_month(cost, other, volume), pays_back(cost, other, volume)
        if saving is None or months is None or months.value > WORTH_BY_MONTHS:
            continue
        if result.quality >= chosen.quality - margin:
            savings.append((saving.value, result.arm.name, amount(saving)))
    if not savings:
        return []
    _, name, saved = max(savings)
    return [
        f"More held-out items: {name} is as good here and would save {saved} a month, and "
        f"{len(chosen.scores)} items do not show that it is no worse."
    ]


def not_measured(found: Evidence) -> tuple[str, ...]:
    """What the figures leave out."""
    study, rates, said = found.study, found.rates, []
    if not study.others:
        said.append("models elsewhere (none named)")
    if not study.documents:
        said.append("looking up in documents (no --documents)")
    if study.quick:
        said.append("optimised prompts, diverse examples and smaller training sizes (--quick)")
    said.append(f"trainings of more than {study.max_steps} steps")
    if study.num_seeds < 2:
        said.append("how much trainings differ by chance (one seed)")
    if rates.is_assumed:
        said.append(
            f"what your machine costs ({rates.hour.text} an hour of a core is assumed: --device-price)"
        )
    said.append("what tuning breaks elsewhere (`tailor models proof` after training)")
    return tuple(said)
