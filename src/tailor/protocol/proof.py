"""What a version fixed and broke: the proof that every job ends with, as JSON."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class Interval(BaseModel):
    """A 95 % interval."""

    low: float
    high: float


class Arm(BaseModel):
    """One model on the held-out items."""

    model: str
    score: float | None
    """Share of items passed, 0 to 1; None where answers are too long to compare word by word."""
    interval: Interval | None
    reward: float | None = None
    """Mean reward; None where nothing is graded."""
    loss: float | None
    """Mean loss per answer token, in nats; None where there is no expected answer."""
    token_accuracy: float | None
    prompt_tokens: int
    completion_tokens: int
    latency_p50_ms: float | None
    latency_p95_ms: float | None


class Difference(BaseModel):
    """Version minus base on the same items; never given without interval and p."""

    metric: Literal["pass_rate", "loss", "reward"]
    mean: float
    interval: Interval
    p_value: float
    test: str
    """Which test, e.g. `McNemar exact`."""


class ProofItem(BaseModel):
    """One held-out item under both models."""

    line: int
    outcome: Literal["fixed", "broken", "unchanged"]
    passed: bool | None
    """Whether the version passes; None where only loss is compared, or the grader does not say."""
    prompt: str
    expected: str
    base_answer: str | None
    version_answer: str | None
    base_loss: float | None
    version_loss: float | None
    base_reward: float | None = None
    version_reward: float | None = None


class Proof(BaseModel):
    """Base against version on the same held-out items."""

    object: Literal["tailor.proof"] = "tailor.proof"
    created_at: int
    model: str
    base: str
    data: str
    """Where the items came from: `validation_file file-...` or `held out from file-...`."""
    file: str | None
    """File id of the items, when they are a file of their own."""
    num_items: int
    num_overlap: int
    """Held-out items whose prompt also occurs in the training data."""
    metric: Literal["pass_rate", "loss", "reward"]
    arms: dict[Literal["base", "version"], Arm]
    difference: Difference
    fixed: int
    broken: int
    unchanged: int
    items: list[ProofItem]
    """Up to 200 items: broken first, then fixed, then unchanged."""
    train_loss: float | None
    """Of the version, on as many training items; None where there are no expected answers."""
    train_held_out_gap: float | None
    """Held-out loss minus training loss of the version, nats per token: how much it learned by heart."""
    verdict: str
    """One sentence for people."""
    notes: list[str]
    settings: dict[str, Any]
