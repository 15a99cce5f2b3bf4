"""What a step's answers and grades amount to, under OpenAI's names (contract section 2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from tailor.grading import Grade
from tailor.protocol import GraderErrors

_FLAGS: Final = tuple(name for name, field in GraderErrors.model_fields.items() if field.annotation is bool)


@dataclass(frozen=True, kw_only=True, slots=True)
class GraderTally:
    """One grader, or one part of a multi grader, over all answers."""

    name: str
    type: str
    num_answers: int
    mean_reward: float
    errors: Mapping[str, int]
    """How often each flag was raised."""
    mean_seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """Means over the answers to some prompts."""

    num_answers: int
    mean_reward: float
    graders: tuple[GraderTally, ...]
    mean_tokens: float
    """Of an answer, its end of turn included."""
    num_truncated: int
    """Answers that were cut off."""
    num_groups: int
    num_flat_groups: int = 0
    """Prompts whose answers all got the same reward."""
    num_unresponsive: int = 0
    """Answers without a grade."""
    tokens_by_model: Mapping[str, Mapping[str, int]]
    """What models that grade have read and written."""
    seconds_sampling: float
    seconds_grading: float


def tally_of(
    grades: Sequence[Grade],
    *,
    num_tokens: Sequence[int],
    num_truncated: int,
    num_groups: int,
    seconds_sampling: float,
    seconds_grading: float,
) -> Tally:
    """Sum up; there must be at least one answer."""
    columns: dict[str, list[Grade]] = {}
    usage: dict[str, dict[str, int]] = {}
    for grade in grades:
        for name, part in (grade.parts or {grade.name: grade}).items():
            columns.setdefault(name, []).append(part)
        for model, counts in grade.usage.items():
            sums = usage.setdefault(model, {})
            for kind, count in counts.items():
                sums[kind] = sums.get(kind, 0) + count
    return Tally(
        num_answers=len(grades),
        mean_reward=fmean(grade.score for grade in grades),
        graders=tuple(_grader_tally(name, column) for name, column in columns.items()),
        mean_tokens=fmean(num_tokens),
        num_truncated=num_truncated,
        num_groups=num_groups,
        num_unresponsive=sum(grade.errors.has_any for grade in grades),
        tokens_by_model=usage,
        seconds_sampling=seconds_sampling,
        seconds_grading=seconds_grading,
    )


def _grader_tally(name: str, grades: Sequence[Grade]) -> GraderTally:
    return GraderTally(
        name=name,
        type=grades[0].type,
        num_answers=len(grades),
        mean_reward=fmean(grade.score for grade in grades),
        errors={flag: sum(getattr(grade.errors, flag) for grade in grades) for flag in _FLAGS},
        mean_seconds=fmean(grade.seconds for grade in grades),
    )


def report(train: Tally, valid: Tally | None, *, seconds_training: float) -> dict[str, Any]:
    """The `data` of a step's event that only reinforcement has."""
    both = {"train": train} | ({"valid": valid} if valid else {})
    seconds_eval = valid.seconds_sampling + valid.seconds_grading if valid else None
    flat: dict[str, Any] = {
        "train_mean_reward": train.mean_reward,
        "completion_tokens_mean": train.mean_tokens,
        "reasoning_tokens_mean": 0.0,
        "mean_unresponsive_rewards": train.num_unresponsive / train.num_answers,
        "model_graders_token_usage": train.tokens_by_model,
        "train_flat_groups_share": train.num_flat_groups / train.num_groups,
        "train_truncated_share": train.num_truncated / train.num_answers,
    }
    if valid:
        flat["full_valid_mean_reward"] = valid.mean_reward
    return flat | {
        "scores": {f"{arm}_reward_mean": tally.mean_reward for arm, tally in both.items()}
        | {"graders": _by_grader(both, lambda arm, one: {f"{arm}_reward_mean": one.mean_reward})},
        "usage": {
            "graders": [
                {"model": model, **counts} for model, counts in sorted(train.tokens_by_model.items())
            ],
            "samples": {f"{arm}_reasoning_tokens_mean": 0.0 for arm in both}
            | {f"{arm}_completion_tokens_mean": tally.mean_tokens for arm, tally in both.items()},
        },
        "errors": {"graders": _by_grader(both, _errors)},
        "timing": {
            "step": {
                "eval": seconds_eval,
                "sampling": train.seconds_sampling,
                "grading": train.seconds_grading,
                "training": seconds_training,
                "full_iteration": train.seconds_sampling
                + train.seconds_grading
                + seconds_training
                + (seconds_eval or 0.0),
            },
            "graders": _by_grader(both, lambda arm, one: {f"{arm}_execution_latency_mean": one.mean_seconds}),
        },
    }


def _errors(arm: str, grader: GraderTally) -> dict[str, float]:
    """Each flag as a share of the answers, and as a count."""
    shares = {f"{arm}_{flag}_mean": count / grader.num_answers for flag, count in grader.errors.items()}
    return shares | {f"{arm}_{flag}_count": count for flag, count in grader.errors.items()}


def _by_grader(
    both: Mapping[str, Tally], values: Callable[[str, GraderTally], Mapping[str, float]]
) -> list[dict[str, Any]]:
    """One object a grader, with what is said of it in training and in validation."""
    found: dict[str, dict[str, Any]] = {}
    for arm, tally in both.items():
        for grader in tally.graders:
            own = found.setdefault(grader.name, {"name": grader.name, "type": grader.type})
            own.update(values(arm, grader))
    return list(found.values())
