"""What the figures of a proof say, in one sentence, and what they cannot say, in notes."""

from __future__ import annotations

from typing import Literal

from tailor.protocol import Arm, Difference, Interval

ALPHA = 0.05
WIDE_GAP_NATS = 0.5
SMALLEST_UNANIMOUS = 6
"""Six changed answers in the same direction are the fewest that McNemar's exact test calls significant
(two-sided p = 2 / 2**6 = 0.031)."""


def sentence(base: Arm, version: Arm, difference: Difference, *, num_items: int) -> str:
    """One honest sentence: better, worse, or no proof of a difference."""
    items = f"{num_items} held-out {'example' if num_items == 1 else 'examples'}"
    if difference.metric == "pass_rate":
        figures = f"{_percent(version.score)} right against {_percent(base.score)} on {items}"
        change = (
            f"{_points(difference.mean)}, 95 % interval {100 * difference.interval.low:.0f} "
            f"to {100 * difference.interval.high:.0f}"
        )
    elif difference.metric == "reward":
        figures = f"mean reward {version.reward or 0:.3f} against {base.reward or 0:.3f} on {items}"
        change = (
            f"{difference.mean:+.3f}, 95 % interval {difference.interval.low:.3f} "
            f"to {difference.interval.high:.3f}"
        )
    else:
        figures = f"loss {version.loss:.2f} against {base.loss:.2f} per answer token on {items}"
        change = (
            f"{difference.mean:+.2f}, 95 % interval {difference.interval.low:.2f} "
            f"to {difference.interval.high:.2f}"
        )
    return f"{_direction(difference)}: {figures} ({change}, {in_words(difference.p_value)})."


def in_words(p_value: float) -> str:
    """A p-value as people write it."""
    if p_value < 0.001:
        return "p < 0.001"
    return f"p = {p_value:.3f}" if p_value < 0.1 else f"p = {p_value:.2f}"


def notes(
    metric: Literal["pass_rate", "loss"],
    *,
    num_items: int,
    num_held_out: int,
    num_overlap: int,
    num_cut_off: int,
    gap: float,
) -> list[str]:
    """What a reader must know to trust the figures no more than they deserve."""
    found = [_power(num_items) if metric == "pass_rate" else _LOSS_ONLY]
    if num_items < num_held_out:
        found.append(
            f"{num_items} of {num_held_out} held-out examples were asked, chosen by the seed; the rest were "
            "too many or too long."
        )
    if num_overlap:
        found.append(
            f"{num_overlap} of {num_items} held-out prompts also occur in the training data, which flatters "
            "the version."
        )
    if num_cut_off:
        found.append(
            f"{num_cut_off} of the version's answers were cut off at the token limit and count as wrong."
        )
    if gap > WIDE_GAP_NATS:
        found.append(
            f"The version's loss is {gap:.2f} lower on what it learned from than on held-out examples: it "
            "knows some of them by heart. Fewer epochs or more varied examples help."
        )
    return found


def reward_notes(
    *, num_items: int, num_held_out: int, num_overlap: int, num_cut_off: int, num_ungraded: int
) -> list[str]:
    """The same where answers are graded."""
    found = [
        "The reward is the grader's. A model that has learned from a grader knows its weak points: read some "
        "of the answers."
    ]
    if num_items < num_held_out:
        found.append(
            f"{num_items} of {num_held_out} held-out prompts were asked; the rest were too many or too long."
        )
    if num_overlap:
        found.append(
            f"{num_overlap} of {num_items} held-out prompts also occur in the training data, which flatters "
            "the version."
        )
    if num_cut_off:
        found.append(f"{num_cut_off} of the version's answers were cut off at the token limit.")
    if num_ungraded:
        found.append(f"{num_ungraded} answers could not be graded and count 0.")
    return found


_LOSS_ONLY = (
    "The expected answers are too long to compare word by word, so this compares how likely each model finds "
    "them. A lower loss does not by itself say that the answers are better."
)


def _power(num_items: int) -> str:
    """The smallest difference that so many items can show: six answers that change in the same direction."""
    if num_items < SMALLEST_UNANIMOUS:
        return (
            f"{num_items} held-out examples cannot prove anything: at least {SMALLEST_UNANIMOUS} answers "
            "must change before a difference can be told from chance."
        )
    points = 100 * SMALLEST_UNANIMOUS / num_items
    return f"With {num_items} held-out examples, differences under {points:.1f} points cannot be shown."


def _direction(difference: Difference) -> str:
    if difference.p_value >= ALPHA or _contains_zero(difference.interval):
        return "No proof of a difference"
    gained = difference.mean < 0 if difference.metric == "loss" else difference.mean > 0
    return "Better" if gained else "Worse"


def _contains_zero(interval: Interval) -> bool:
    return interval.low <= 0 <= interval.high


def _percent(share: float | None) -> str:
    if share is None:
        return "?"
    # 199 of 200 is not "100 %".
    percent = 100 * share
    return (
        f"{percent:.1f} %"
        if percent != round(percent) and (percent > 99 or percent < 1)
        else f"{percent:.0f} %"
    )


def _points(share: float) -> str:
    points = 100 * share
    return f"{points:+.0f} {'point' if abs(round(points)) == 1 else 'points'}"
