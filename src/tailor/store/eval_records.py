"""What the store keeps of evals, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from tailor.store.records import JsonObject

RunStatus = Literal["queued", "in_progress", "completed", "failed", "canceled"]
ItemStatus = Literal["pass", "fail", "error"]

SHOWN_ROWS = 100
"""Of rows that came in the request, as many stay with the run once all of them are in their own table."""

ENDED: frozenset[str] = frozenset({"completed", "failed", "canceled"})
"""The statuses that no run leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Eval:
    """What is graded, and by what; both never change."""

    id: str
    tenant: str
    created_at: int
    name: str
    data_source_config: JsonObject
    testing_criteria: list[JsonObject]
    metadata: dict[str, str] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What has come of a run's rows so far: kept beside them, so that nobody need read them all to count."""

    passed: int = 0
    failed: int = 0
    errored: int = 0
    criteria: tuple[tuple[int, int], ...] = ()
    """Passed and failed by each criterion, in the eval's order."""
    usage: dict[str, dict[str, int]] = field(default_factory=dict)
    """By model: `invocations`, `prompt_tokens`, `completion_tokens`, `cached_tokens`."""

    @classmethod
    def parse(cls, value: JsonObject) -> Tally:
        """From its JSON."""
        return cls(**value | {"criteria": tuple((one[0], one[1]) for one in value["criteria"])})

    def to_json(self) -> JsonObject:
        """As a column holds it."""
        return {
            "passed": self.passed,
            "failed": self.failed,
            "errored": self.errored,
            "criteria": [list(one) for one in self.criteria],
            "usage": self.usage,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """What a caller asks for."""

    name: str
    model: str | None
    """Who answers; None grades the answers that are there."""
    data_source: JsonObject
    """As on the wire."""
    metadata: dict[str, str] | None = None
    file: str | None = None
    """The uploaded file that holds the rows; its bytes stay until they are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalRun:
    """What was asked, and how far it is."""

    id: str
    tenant: str
    eval_id: str
    created_at: int
    finished_at: int | None
    name: str
    model: str | None
    status: RunStatus
    data_source: JsonObject
    metadata: dict[str, str] | None
    sha256: str | None
    """The bytes of the file that holds the rows."""
    is_prepared: bool
    """Whether every row has its place in the table."""
    error: JsonObject | None
    total: int
    tally: Tally
    recorded: int
    """Answers and gradings that a crash cannot lose."""
    attempts: int
    """Crashes in a row that recorded nothing."""
    token: int
    """The fencing token: only a lease that holds this number may write."""
    owner: str | None
    report_token: str
    """Opens the report, and nothing else."""

    @property
    def is_ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in ENDED


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalItem:
    """One row of a run: first alone, then answered, then graded."""

    id: str
    run_id: str
    position: int
    """From 0, in the order of the data."""
    finished_at: int | None
    status: ItemStatus | None
    row: JsonObject
    """`item`, and `sample` where the data brought an answer."""
    sample: JsonObject | None
    """The answer that was recorded."""
    results: list[Any] | None
    """What each criterion made of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """What has come of a row: an answer, its grades, or both."""

    item: EvalItem
    sample: JsonObject | None = None
    """The answer, if it is new."""
    status: ItemStatus | None = None
    """Set with the grades: the row is finished then."""
    results: list[Any] = field(default_factory=list)
    """What each criterion made of it; empty where there was nothing to grade."""
    usage: dict[str, dict[str, int]] = field(default_factory=dict)
    """What answering and judging used, as in a tally."""
