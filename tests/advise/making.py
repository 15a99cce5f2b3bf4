"""Results of arms that were never run: for the rules, which look at nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast

from tailor.advise.arms import TRAITS, Arm, ArmResult, Means, SetUp
from tailor.advise.contests import contests
from tailor.advise.evidence import Evidence
from tailor.advise.figures import money
from tailor.advise.pricing import Cost
from tailor.advise.verdict import Circumstances, barred_by, cheapest_first, choose
from tailor.data import Example
from tailor.data.doctor.corpus import Item
from tailor.data.doctor.items import item_of


def passes(right: int, total: int = 200) -> tuple[float, ...]:
    """The first so many are right."""
    return (1.0,) * right + (0.0,) * (total - right)


def result(
    means: Means,
    *runs: Sequence[float],
    name: str | None = None,
    size: int | None = None,
    elsewhere: bool = False,
    latencies_ms: Sequence[float] = (50.0,),
) -> ArmResult:
    """An arm that came to these scores."""
    trained = TRAITS[means].is_trained
    return ArmResult(
        arm=Arm(
            means=means,
            name=name or means,
            model="base",
            size=size if size is not None else 400 if trained else None,
            is_elsewhere=elsewhere,
        ),
        runs=tuple(tuple(run) for run in runs),
        latencies_ms=tuple(latencies_ms),
        setup=SetUp(seconds=60.0 if trained else 0.0),
    )


def cost(thousand: str, *, setup: str = "0") -> Cost:
    """What an arm costs."""
    return Cost(
        setup=money("set-up", setup, "USD"), request=money("a request", Decimal(thousand) / 1_000, "USD")
    )


def chosen(
    results: Sequence[ArmResult],
    circumstances: Circumstances | None = None,
    costs: Mapping[str, Cost] | None = None,
    *,
    num_train: int = 400,
) -> str | None:
    """What the rules take, by name; None where nothing can be taken."""
    circumstances = circumstances or Circumstances()
    costs = costs or {each.arm.name: cost("1") for each in results}
    able = [
        each
        for each in results
        if not each.arm.is_point_of_curve(num_train) and barred_by(each, circumstances, num_train) is None
    ]
    free = cheapest_first(able, costs)
    return choose(free, contests(free), costs, circumstances).arm.name if free else None


def evidence(
    results: Sequence[ArmResult],
    circumstances: Circumstances | None = None,
    costs: Mapping[str, Cost] | None = None,
) -> Evidence:
    """What the wording of a verdict goes by, without a study behind it."""
    return Evidence(
        study=cast(Any, None),
        circumstances=circumstances or Circumstances(),
        rates=cast(Any, None),
        results=tuple(results),
        free=tuple(results),
        barred=(),
        costs=dict(costs or {}),
        contests=contests(results),
        floor=(0.0,),
        curves=(),
    )


def item(asked: str, answer: str, *, line: int = 1, system: str | None = None) -> Item:
    """One question and its answer."""
    messages = [{"role": "system", "content": system}] if system else []
    messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return item_of(Example(line=line, messages=tuple(messages)))
