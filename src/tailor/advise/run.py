"""The experiment itself: every arm of a plan, one after the other, on the same held-out items."""

from __future__ import annotations

from collections.abc import Iterator

from tailor.advise.arms import Arm, ArmResult, Progress, Skipped
from tailor.advise.measuring import measure
from tailor.advise.study import Study, plan
from tailor.errors import NotFound, TailorError

Step = Progress | ArmResult | Skipped


def run(study: Study) -> Iterator[Step]:
    """Measure every arm of the plan. What an earlier run finished comes from the journal.

    Raises:
        TailorError: Nobody answers at the endpoint. An arm alone that fails is skipped, with the reason.
    """
    for arm in plan(study):
        kept = _kept(study, arm)
        if kept is not None:
            yield kept
            continue
        yield Progress(arm=arm, done=0.0, what="starting")
        try:
            outcome = yield from measure(study, arm)
        except TailorError as error:
            if error.code == "unreachable":
                raise
            yield Skipped(arm=arm, reason=error.sentence)
            continue
        if study.journal:
            study.journal.keep(outcome)
        yield outcome


def _kept(study: Study, arm: Arm) -> ArmResult | Skipped | None:
    """What an earlier run came to, if the version that it is to hand over is still there."""
    kept = study.journal.find(arm) if study.journal else None
    if not isinstance(kept, ArmResult):
        return kept
    if kept.made is not None and not arm.is_point_of_curve(len(study.parts.train)):
        try:
            study.endpoint.model(kept.made)
        except NotFound:
            return None
    return kept
