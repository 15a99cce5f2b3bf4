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

    metric: Literal["pass_rate", "loss", "reward", "score"]
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


class PairedResult(BaseModel):
    """One held-out item in short, so that versions can be held against each other without asking again."""

    key: str
    """Equal for items that ask the same and expect the same."""
    base: float
    """In the proof's metric: passed (1 or 0), reward, or loss."""
    version: float


class Cluster(BaseModel):
    """Items that became better, or worse, and resemble each other."""

    outcome: Literal["fixed", "broken"]
    words: list[str]
    """What tells them from the other items, the most telling first."""
    expected: str | None = None
    """The short answer that was expected of most of them, if there is one."""
    count: int
    lines: list[int]
    examples: list[str]
    """The prompts nearest to the middle, three at most."""


class ProbeResult(BaseModel):
    """One general ability before and after."""

    name: str
    metric: Literal["loss", "accuracy"]
    num_items: int
    before: float
    after: float
    nothing: float
    """What a model without the ability would get: chance, or the loss of guessing words by frequency."""
    kept: float | None
    """How much of the ability is left, 1 is all; null where the base hardly has it."""
    p_value: float
    """Of the difference, paired by item."""


class CanaryResult(BaseModel):
    """The user's own cases that must not break."""

    file: str
    num_items: int
    before: int
    """Passed by the base."""
    after: int
    fixed: int
    broken: int
    p_value: float
    items: list[ProofItem]
    """Those that broke, up to 20."""


class Forgetting(BaseModel):
    """What the version can no longer do that the base could."""

    battery: str
    """Name and number of the fixed probes; figures of different numbers are not to be compared."""
    probes: list[ProbeResult]
    kept: float | None
    """Mean over the probes; null without any."""
    limit: float
    """Below this share the version is not promoted."""
    canaries: CanaryResult | None = None
    is_blocked: bool
    reasons: list[str]
    """Why it is blocked, one sentence each."""
    remedies: list[str]


class Artefacts(BaseModel):
    """How answers look, whatever they say: base and version on the same prompts."""

    num_items: int
    length_ratio: dict[Literal["base", "version"], float]
    """Characters of all answers for each character expected."""
    refusals: dict[Literal["base", "version"], float]
    """Share of answers that decline."""
    expected_refusals: float
    """Share of expected answers that decline."""
    in_format: dict[Literal["base", "version"], float]
    """Share of answers in the form that was expected: JSON, a list, one line, a number, capitals, ..."""
    notes: list[str]
    """What is worth a look, one sentence each."""


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
    train_score: float | None = None
    """Share of a sample of training items that the version passes; null where answers are not compared."""
    train_score_items: int = 0
    verdict: str
    """One sentence for people."""
    notes: list[str]
    settings: dict[str, Any]
    results: list[PairedResult] = []
    """Every item in short."""
    clusters: list[Cluster] = []
    """What was fixed and what was broken, grouped by what was asked; broken first, large ones first."""
    forgetting: Forgetting | None = None
    artefacts: Artefacts | None = None
