"""The result file: one CSV row per step, made from the stored metrics alone.

So a job that was interrupted and redone ends with the same bytes as one that never was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CONTRACT_COLUMNS = {
    "step": "step",
    "train_loss": "train_loss",
    "train_accuracy": "train_mean_token_accuracy",
    "valid_loss": "valid_loss",
    "valid_mean_token_accuracy": "valid_mean_token_accuracy",
}
"""OpenAI's columns and the metric that each shows: the file says `train_accuracy`, the events do not."""

EXTRA_COLUMNS = (
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
    "learning_rate",
    "gradient_norm",
    "train_tokens",
)
"""Ours, after OpenAI's."""

REWARD_COLUMNS = (
    "train_mean_reward",
    "full_valid_mean_reward",
    "completion_tokens_mean",
    "train_flat_groups_share",
    "train_truncated_share",
)
"""Ours again, where the method is reinforcement."""


def result_csv(metrics: Iterable[Mapping[str, object]]) -> bytes:
    """The file's bytes; what a step did not measure stays blank."""
    rows = list(metrics)
    extra = EXTRA_COLUMNS + tuple(name for name in REWARD_COLUMNS if any(name in row for row in rows))
    columns = (*CONTRACT_COLUMNS.values(), *extra)
    lines = [",".join([*CONTRACT_COLUMNS, *extra])]
    lines += [",".join(_cell(row.get(name), name) for name in columns) for row in rows]
    return ("\n".join(lines) + "\n").encode()


def _cell(value: object, name: str) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        # Five decimals would blot out a learning rate; five digits do not.
        return f"{value:.5g}" if name == "learning_rate" else f"{value:.5f}"
    return str(value)
