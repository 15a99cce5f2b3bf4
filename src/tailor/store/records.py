"""What the store keeps, as frozen values. Times are whole unix seconds; dictionaries are plain JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, Literal, TypeVar

JsonObject = dict[str, Any]
JobStatus = Literal["validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"]
JobPhase = Literal["validating", "queued", "preparing", "training", "evaluating", "publishing"]
ClaimPhase = Literal["validate", "train"]
Level = Literal["info", "warn", "error"]
EventType = Literal["message", "metrics"]

TERMINAL: frozenset[str] = frozenset({"succeeded", "failed", "cancelled"})
"""The statuses that no job leaves."""

Item = TypeVar("Item")
Record = TypeVar("Record")


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[Item]):
    """Some items of a list, in its order, and whether more follow."""

    items: tuple[Item, ...]
    has_more: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FileRecord:
    """An uploaded or produced file; its bytes are the blob named by `sha256`."""

    id: str
    tenant: str
    bytes: int
    created_at: int
    filename: str
    """As the caller gave it: for display only, never part of a path."""
    purpose: str
    status: str
    """`uploaded`, `processed` or `error` (contract 1.1); ours are processed from the start."""
    expires_at: int | None
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class JobSpec:
    """What a caller asks for: everything that makes two requests the same request."""

    requested_model: str
    """The model as the caller wrote it: a base, an alias or a tuned version."""
    base: str
    """The catalogue's name of the base that it resolved to."""
    parent: str | None = None
    """The tuned version to go on from, if any."""
    training_file: str
    validation_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    """None: the store makes one; it then shows on the job."""
    metadata: dict[str, str] | None = None
    method: JsonObject = field(default_factory=dict)
    """The wire's `method`, as asked."""
    hyperparameters: JsonObject = field(default_factory=dict)
    """As asked, `"auto"` included."""
    options: JsonObject = field(default_factory=dict)
    """The wire's `tailor` object."""
    integrations: tuple[JsonObject, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What was asked and how far it is."""

    id: str
    tenant: str
    created_at: int
    started_at: int | None
    """When training first started; later attempts do not move it."""
    finished_at: int | None
    status: JobStatus
    phase: JobPhase
    """Finer than `status`, for people; decides nothing."""
    requested_model: str
    base: str
    parent: str | None
    training_file: str
    training_sha256: str
    """The bytes that the job learns from, whatever becomes of the file's name."""
    validation_file: str | None
    validation_sha256: str | None
    suffix: str | None
    seed: int
    metadata: dict[str, str] | None
    method: JsonObject
    hyperparameters: JsonObject
    """As asked, then resolved."""
    options: JsonObject
    integrations: tuple[JsonObject, ...]
    fine_tuned_model: str | None
    trained_tokens: int | None
    result_files: tuple[str, ...]
    error: JsonObject | None
    """`{"code", "message", "param"}` once failed."""
    step: int
    total_steps: int | None
    saved_step: int
    """The newest step that a crash cannot lose."""
    estimated_finish: int | None
    token: int
    """The fencing token: only a lease that holds this number may write."""
    owner: str | None
    """Who holds the job now; None when nobody does."""
    hb: int
    """Counts the holder's writes: it stands still when the holder does."""
    wanted: Literal["run", "pause"]
    """What the holder should do next."""
    attempts: int
    """Crashes in a row without progress, since the micro-batch was last made smaller."""
    pause_reason: str | None
    max_microbatch_tokens: int | None = None
    """Tokens computed at a time; fewer after memory ran out. None before the first training."""

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One line of a job's log; `sequence` orders them, never the clock."""

    id: str
    job_id: str
    sequence: int
    created_at: int
    level: Level
    message: str
    type: EventType
    data: JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A checkpoint that can be used as a model."""

    id: str
    job_id: str
    created_at: int
    step: int
    name: str
    """`ft:...:ckpt-step-N`, also the id of its version."""
    digest: str
    """The weights it stands for: `weights/<digest>`."""
    metrics: JsonObject


@dataclass(frozen=True, kw_only=True, slots=True)
class Save:
    """A state of training that a later attempt can go on from."""

    step: int
    directory: str
    """Name of the directory inside the job's checkpoint directory."""
    token: int
    """The attempt that wrote it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Version:
    """A trained model: everything needed to say what it is and how it came to be."""

    id: str
    """Its name, `ft:...`."""
    tenant: str
    created_at: int
    base: str
    base_digest: str
    kind: Literal["final", "checkpoint"]
    job_id: str
    step: int
    digest: str
    """The weights: `weights/<digest>`."""
    adapter: Literal["lora", "full", "dora", "ia3", "bottleneck", "prefix"]
    dataset_fingerprint: str
    recipe: JsonObject
    template_digest: str
    software: JsonObject
    metrics: JsonObject
    parent: str | None = None
    proof: JsonObject | None = None
    data: JsonObject | None = None
    """What the check said of the files it was made from; None for versions from before that was kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Base:
    """A base model in the operator's catalogue."""

    name: str
    created_at: int
    directory: str
    digest: str
    template_digest: str
    context_length: int
    parameters: int
    model_type: str
    is_default: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Resolved:
    """What a model name means in the catalogue."""

    base: Base
    is_alias: bool
    """The caller used an OpenAI name that stands for our default base."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """An API key without its secret."""

    id: str
    tenant: str
    name: str
    created_at: int
    revoked_at: int | None
    last4: str
    """The end of the secret, so that people can tell keys apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredCompletion:
    """A chat completion kept because the caller asked for it (`store: true`)."""

    id: str
    tenant: str
    created_at: int
    model: str
    messages: tuple[JsonObject, ...]
    """What was asked."""
    answer: JsonObject
    """The `chat.completion` object that was sent."""
    metadata: dict[str, str] | None


_TUPLES = frozenset({"integrations", "result_files", "messages"})


def to_record(cls: type[Record], row: Mapping[str, Any]) -> Record:
    """A record from a table row: columns carry the names of the fields; JSON lists become tuples."""
    names = (column.name for column in fields(cls))  # type: ignore[arg-type]
    return cls(**{name: tuple(row[name]) if name in _TUPLES else row[name] for name in names})
