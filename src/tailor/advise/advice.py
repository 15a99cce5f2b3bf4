"""Advice: everything that was measured, and the verdict over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tailor.advise.arms import ArmResult, Skipped
from tailor.advise.contests import is_as_good
from tailor.advise.evidence import Evidence, sort_out
from tailor.advise.forecast import Curve
from tailor.advise.pricing import Rates
from tailor.advise.study import Study
from tailor.advise.verdict import Circumstances, Verdict, beats, choose
from tailor.advise.wording import (
    before_the_run,
    cautions,
    cost_lines,
    headline,
    not_measured,
    reasons,
    would_change,
)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Advice:
    """The page, before it is drawn."""

    evidence: Evidence
    skipped: tuple[Skipped, ...]
    verdict: Verdict

    def barred_by_reason(self) -> dict[str, list[str]]:
        """The names of the arms that cannot be taken, by why."""
        found: dict[str, list[str]] = {}
        for each in self.verdict.barred:
            found.setdefault(each.reason, []).append(each.name)
        return found

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        found = self.evidence
        study = found.study
        return {
            "file": study.material.name,
            "task": study.material.measure.to_dict(),
            "parts": study.parts.to_dict(),
            "base": study.base.id,
            "models": [model.id for model in study.others],
            "circumstances": found.circumstances.to_dict(),
            "can_see": before_the_run(study),
            "verdict": self.verdict.to_dict(),
            "floor": found.floor_quality,
            "arms": [
                result.to_dict() | {"cost": found.costs[result.arm.name].to_dict()}
                for result in found.results
            ],
            "skipped": [{"arm": each.arm.name, "reason": each.reason} for each in self.skipped],
            "contests": found.contests.to_dict(),
            "learning_curves": [curve.to_dict() for curve in found.curves],
        }


def judge(
    study: Study,
    results: Sequence[ArmResult],
    skipped: Sequence[Skipped],
    curves: Sequence[Curve],
    circumstances: Circumstances,
    rates: Rates,
) -> Advice:
    """The rules over what was measured."""
    found = sort_out(study, results, curves, circumstances, rates)
    able = [result for result in found.free if beats(result, found.floor)]
    if not found.free:
        verdict = _none_allowed(found)
    elif not able:
        verdict = _none_able(found)
    else:
        verdict = _taken(choose(able, found.contests, found.costs, circumstances), found)
    return Advice(evidence=found, skipped=tuple(skipped), verdict=verdict)


def _taken(chosen: ArmResult, found: Evidence) -> Verdict:
    margin = found.circumstances.margin
    ahead = [result for result in found.free if result.quality > chosen.quality]
    return Verdict(
        arm=chosen.arm.name,
        headline=headline(chosen, found.unit),
        because=(*reasons(chosen, found), *cautions(chosen, found)),
        costs=tuple(cost_lines(chosen, found)),
        changes=tuple(would_change(chosen, found)),
        barred=found.barred,
        is_certain=all(is_as_good(chosen, result, margin=margin) for result in ahead),
        not_measured=not_measured(found),
    )


def _none_able(found: Evidence) -> Verdict:
    best = max(found.free, key=lambda result: result.quality)
    changes = would_change(best, found)
    if best.quality > found.floor_quality:
        said = "These items cannot tell whether anything does the task: do not fine-tune yet."
        changes.insert(0, "More held-out items, above all with answers that are rare.")
    else:
        said = "Nothing that was tried does the task: do not fine-tune yet."
    return Verdict(
        arm=None,
        headline=said,
        because=(
            f"The best, {best.arm.name}, has {best.quality:.1%} {found.unit}; always giving the most usual "
            f"answer has {found.floor_quality:.1%}.",
        ),
        changes=tuple(changes),
        barred=found.barred,
        not_measured=not_measured(found),
    )


def _none_allowed(found: Evidence) -> Verdict:
    return Verdict(
        arm=None,
        headline="Nothing that was tried can be taken under your conditions.",
        because=tuple(f"{each.name}: {each.reason}." for each in found.barred),
        changes=("Give up one of the conditions, or add what can meet it (--documents, --models).",),
        barred=found.barred,
        not_measured=not_measured(found),
    )
