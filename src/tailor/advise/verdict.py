"""The verdict: small rules over what was measured and what cannot be; docs/advise.md has them in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final, Literal, get_args

from tailor.advise.arms import ArmResult
from tailor.advise.contests import ALPHA, Contests, is_as_good
from tailor.advise.pricing import Cost, pays_back
from tailor.grading import paired_difference

Change = Literal["never", "monthly", "weekly", "daily"]
CHANGES: Final[tuple[str, ...]] = get_args(Change)

MARGIN: Final = 0.02
"""A loss of up to 2 points is taken for a cheaper way."""

FEW_EXAMPLES: Final = 50
"""Below it nothing is trained on: prompt, and collect."""

WORTH_BY_MONTHS: Final = 12
"""A dearer set-up that saves money has to be paid back by then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Circumstances:
    """What cannot be measured, as the user says it. None: not said."""

    volume: Decimal | None = None
    """Requests a month."""

    knowledge_changes: Change | None = None
    """How often what answers rest on changes."""

    needs_sources: bool = False
    """Whether an answer must say where it is from."""

    latency_ms: float | None = None
    """95 of 100 answers must be there by then."""

    is_private: bool = False
    """Whether texts must stay with the endpoint."""

    margin: float = MARGIN
    """Loss of quality that a cheaper way may have."""

    @property
    def goes_stale(self) -> bool:
        """Whether what a training learnt would soon be wrong."""
        return self.knowledge_changes in ("weekly", "daily")

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "volume_per_month": None if self.volume is None else f"{self.volume:f}",
            "knowledge_changes": self.knowledge_changes,
            "needs_sources": self.needs_sources,
            "latency_ms": self.latency_ms,
            "privacy": "local" if self.is_private else "any",
            "margin": self.margin,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Barred:
    """An arm that was measured and cannot be taken."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What to do, and why."""

    arm: str | None
    """The recommended one; None: none of them, collect data first."""

    headline: str
    """One sentence."""

    because: tuple[str, ...]
    """The evidence."""

    costs: tuple[str, ...] = ()
    """What it costs, and when it pays back."""

    changes: tuple[str, ...] = ()
    """What would change it."""

    barred: tuple[Barred, ...] = ()
    is_certain: bool = True
    """Whether the arms that are cheaper are shown to be worse, and not only not shown to be as good."""

    not_measured: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            "arm": self.arm,
            "headline": self.headline,
            "because": list(self.because),
            "costs": list(self.costs),
            "would_change_if": list(self.changes),
            "barred": [{"arm": each.name, "reason": each.reason} for each in self.barred],
            "is_certain": self.is_certain,
            "not_measured": list(self.not_measured),
        }


# Which arms can be taken at all


def barred_by(result: ArmResult, circumstances: Circumstances, num_train: int) -> str | None:
    """Why an arm cannot be taken, whatever it scored; None: it can."""
    traits = result.arm.traits
    slowest = result.latency_ms(95)
    if circumstances.is_private and result.arm.is_elsewhere:
        return "texts would go beyond the endpoint"
    if circumstances.needs_sources and not traits.has_sources:
        return "it cannot say where an answer is from"
    if traits.is_trained and num_train < FEW_EXAMPLES:
        return f"{num_train} examples are too few to train on: {FEW_EXAMPLES} at least"
    if circumstances.latency_ms is not None and slowest is not None and slowest > circumstances.latency_ms:
        return f"95 of 100 answers took up to {slowest:,.0f} ms, over {circumstances.latency_ms:,.0f} ms"
    return None


def cheapest_first(results: Sequence[ArmResult], costs: Mapping[str, Cost]) -> list[ArmResult]:
    """By the effort of the means; of equal effort the better one first, then that with cheaper requests."""

    def key(result: ArmResult) -> tuple[int, float, Decimal, str]:
        request = costs[result.arm.name].request
        price = Decimal("Infinity") if request is None else request.value
        return result.arm.traits.effort, -result.quality, price, result.arm.name

    return sorted(results, key=key)


# Which of them is taken


def earns_its_place(
    dearer: ArmResult,
    over: ArmResult,
    found: Contests,
    costs: Mapping[str, Cost],
    circumstances: Circumstances,
) -> bool:
    """Whether a dearer arm is taken instead of a cheaper one.

    It is better for certain, and the cheaper one not shown to be as good but for the margin; or it is itself
    as good for certain, and pays for its set-up in time.
    """
    one, other = dearer.arm.name, over.arm.name
    if found.is_better(one, other):
        return not is_as_good(over, dearer, margin=circumstances.margin)
    months = pays_back(costs[other], costs[one], circumstances.volume)
    if months is None or months.value > WORTH_BY_MONTHS:
        return False
    return is_as_good(dearer, over, margin=circumstances.margin)


def choose(
    ordered: Sequence[ArmResult],
    found: Contests,
    costs: Mapping[str, Cost],
    circumstances: Circumstances,
) -> ArmResult:
    """Walk from the cheapest arm up; a dearer one has to earn its place over the one held.

    Where facts change, arms that look things up come first, and a trained one has to beat them.
    """
    if circumstances.goes_stale:
        looked_up = [result for result in ordered if result.arm.traits.has_sources]
        ordered = [*looked_up, *(result for result in ordered if result not in looked_up)]
    held = ordered[0]
    for result in ordered[1:]:
        if earns_its_place(result, held, found, costs, circumstances):
            held = result
    return held


def beats(result: ArmResult, floor: Sequence[float]) -> bool:
    """Whether an arm is better for certain than always giving the most usual answer."""
    found = paired_difference(floor, result.scores)
    return found.mean > 0 and found.p < ALPHA
