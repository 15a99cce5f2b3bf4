"""One model's results on held-out items, and the figures of a proof that follow from two models' results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tailor.evals.agreement import agrees
from tailor.evals.clusters import Asked
from tailor.evals.items import Item
from tailor.evals.pair import Answer
from tailor.grading import paired_difference, percentile, wilson
from tailor.protocol import Arm, Difference, Interval, PairedResult, ProofItem
from tailor.training import ExampleScore

MOVED_NATS = 0.1
"""An item whose loss moved by no more than this per token counts as unchanged."""
MAX_LISTED = 200
MAX_CHARACTERS = 2_000

Outcome = Literal["fixed", "broken", "unchanged"]
Metric = Literal["pass_rate", "loss"]
ProofMetric = Literal["pass_rate", "loss", "reward"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Examined:
    """One model's results on all items."""

    scores: list[ExampleScore]
    answers: list[Answer]
    """Empty where only losses are compared."""
    passed: list[bool]

    @property
    def losses(self) -> list[float]:
        """Nats per answer token, item by item."""
        return [mean_loss([each]) for each in self.scores]


def examined(items: list[Item], scores: list[ExampleScore], answers: list[Answer]) -> Examined:
    """A model's results, from its scores (of pairs, the rejected answers after the preferred) and answers."""
    if len(scores) > len(items):
        preferred, rejected = scores[: len(items)], scores[len(items) :]
        likelier = [
            mean_loss([one]) < mean_loss([other]) for one, other in zip(preferred, rejected, strict=True)
        ]
        return Examined(scores=preferred, answers=[], passed=likelier)
    # zip ends early, with nothing, where no answers were asked for.
    passed = [passes(item, answer) for item, answer in zip(items, answers, strict=False)]
    return Examined(scores=scores, answers=answers, passed=passed)


def passes(item: Item, answer: Answer) -> bool:
    """Whether an answer is whole, and the reference."""
    return answer.is_complete and agrees(answer.text, item.reference_text)


def asked_of(item: Item) -> Asked:
    """An item, to be grouped with others."""
    return Asked(line=item.line, prompt=item.prompt_text, expected=item.reference_text)


def results_of(items: list[Item], before: Examined, after: Examined, metric: Metric) -> list[PairedResult]:
    """Every item in short."""
    old, new = (before.passed, after.passed) if metric == "pass_rate" else (before.losses, after.losses)
    return [
        PairedResult(key=item.key, base=round(float(base), 5), version=round(float(version), 5))
        for item, base, version in zip(items, old, new, strict=True)
    ]


def outcomes_of(before: Examined, after: Examined, metric: Metric) -> list[Outcome]:
    """What became of each item."""
    if metric == "pass_rate":
        gains = [float(new) - float(old) for old, new in zip(before.passed, after.passed, strict=True)]
    else:
        moves = [old - new for old, new in zip(before.losses, after.losses, strict=True)]
        gains = [move if abs(move) > MOVED_NATS else 0.0 for move in moves]
    return ["fixed" if gain > 0 else "broken" if gain < 0 else "unchanged" for gain in gains]


def difference_of(before: Examined, after: Examined, metric: Metric) -> Difference:
    """Version minus base, with interval and test."""
    if metric == "pass_rate":
        return measured_difference(metric, before.passed, after.passed)
    return measured_difference(metric, before.losses, after.losses)


def measured_difference(metric: ProofMetric, before: Sequence[float], after: Sequence[float]) -> Difference:
    """Of two measurements of the same items."""
    change = paired_difference(before, after)
    return Difference(
        metric=metric,
        mean=change.mean,
        interval=Interval(low=change.low, high=change.high),
        p_value=change.p,
        test=change.method,
    )


def pass_rate(passed: Sequence[bool]) -> tuple[float, Interval]:
    """The share that passed, and its interval."""
    bounds = wilson(sum(passed), len(passed))
    return sum(passed) / len(passed), Interval(low=bounds.low, high=bounds.high)


def arm_of(name: str, items: list[Item], found: Examined) -> Arm:
    """One model's figures over all items."""
    score = interval = fast = slow = None
    completion_tokens = sum(item.num_reference_tokens for item in items)
    if found.passed:
        score, interval = pass_rate(found.passed)
    if found.answers:
        milliseconds = [1000 * answer.seconds for answer in found.answers]
        fast, slow = percentile(milliseconds, 50), percentile(milliseconds, 95)
        completion_tokens = sum(answer.num_tokens for answer in found.answers)
    num_correct = sum(each.num_correct for each in found.scores)
    return Arm(
        model=name,
        score=score,
        interval=interval,
        loss=mean_loss(found.scores),
        token_accuracy=num_correct / sum(each.num_tokens for each in found.scores),
        prompt_tokens=sum(len(item.prompt_ids) for item in items),
        completion_tokens=completion_tokens,
        latency_p50_ms=fast,
        latency_p95_ms=slow,
    )


def mean_loss(scores: Sequence[ExampleScore]) -> float:
    """Nats per answer token over all of them together; 0 for none."""
    return sum(each.loss_sum for each in scores) / max(1, sum(each.num_tokens for each in scores))


def listed(items: list[Item], outcomes: list[Outcome], before: Examined, after: Examined) -> list[ProofItem]:
    """The items that a proof shows: broken ones first, then fixed ones."""
    return [
        ProofItem(
            line=items[index].line,
            outcome=outcomes[index],
            passed=after.passed[index] if after.passed else None,
            prompt=clip(items[index].prompt_text),
            expected=clip(items[index].reference_text),
            base_answer=clip(before.answers[index].text) if before.answers else None,
            version_answer=clip(after.answers[index].text) if after.answers else None,
            base_loss=before.losses[index],
            version_loss=after.losses[index],
        )
        for index in places_listed(outcomes)
    ]


def places_listed(outcomes: Sequence[Outcome]) -> list[int]:
    """Which items a proof shows, and in what order."""
    ranks = {"broken": 0, "fixed": 1, "unchanged": 2}
    return sorted(range(len(outcomes)), key=lambda index: (ranks[outcomes[index]], index))[:MAX_LISTED]


def clip(text: str) -> str:
    """As much of a text as a proof shows."""
    return text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 4] + " ..."
