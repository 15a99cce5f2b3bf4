"""What the verdict goes by: the arms that can be taken, what they cost, and how they stand to each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailor.advise.arms import ArmResult
from tailor.advise.classical import most_usual
from tailor.advise.contests import Contests, contests
from tailor.advise.forecast import Curve
from tailor.advise.pricing import Cost, Rates, cost_of
from tailor.advise.study import Study
from tailor.advise.verdict import Barred, Circumstances, barred_by, cheapest_first


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Evidence:
    """Everything that was measured, sorted out."""

    study: Study
    circumstances: Circumstances
    rates: Rates
    results: tuple[ArmResult, ...]
    """Of every arm that was measured, in the order of the plan."""

    free: tuple[ArmResult, ...]
    """Those that can be taken, the cheapest first."""

    barred: tuple[Barred, ...]
    """Those that cannot; points of the learning curve are not among them."""

    costs: dict[str, Cost]
    """Of every arm, by name."""

    contests: Contests
    """Of those that can be taken."""

    floor: tuple[float, ...]
    """The scores of always giving the most usual answer."""

    curves: tuple[Curve, ...]

    @property
    def floor_quality(self) -> float:
        """The mean of the floor."""
        return sum(self.floor) / len(self.floor)

    @property
    def unit(self) -> str:
        """What a quality is a share of."""
        return self.study.material.measure.unit

    def result(self, name: str) -> ArmResult:
        """Of an arm."""
        return next(result for result in self.results if result.arm.name == name)


def sort_out(
    study: Study,
    results: Sequence[ArmResult],
    curves: Sequence[Curve],
    circumstances: Circumstances,
    rates: Rates,
) -> Evidence:
    """What can be taken under the circumstances, what it costs, and every test."""
    costs = {result.arm.name: cost_of(result, rates) for result in results}
    total = len(study.parts.train)
    candidates = [result for result in results if not result.arm.is_point_of_curve(total)]
    reasons = {result.arm.name: barred_by(result, circumstances, total) for result in candidates}
    free = cheapest_first([result for result in candidates if reasons[result.arm.name] is None], costs)
    return Evidence(
        study=study,
        circumstances=circumstances,
        rates=rates,
        results=tuple(results),
        free=tuple(free),
        barred=tuple(Barred(name=name, reason=reason) for name, reason in reasons.items() if reason),
        costs=costs,
        contests=contests(free),
        floor=most_usual(study.material.measure, study.parts.train, study.parts.held_out),
        curves=tuple(curves),
    )
