"""Tuned versions with everything that made them, on the wire (ours)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from tailor.protocol.proof import Proof

Tag = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,63}$")]


class VersionNote(BaseModel):
    """Something somebody wrote about a version."""

    created_at: int
    text: str


class VersionEvaluation(BaseModel):
    """A run of an eval that asked the version."""

    eval: str
    run: str
    name: str
    """Of the eval."""
    created_at: int
    status: str
    total: int
    passed: int


class VersionData(BaseModel):
    """The files that a version was made from."""

    training_file: str
    training_sha256: str
    validation_file: str | None
    validation_sha256: str | None
    is_kept: bool
    """Whether the bytes are still here: without them it cannot be made again."""
    fingerprint: str
    """Of the examples that were learned, whatever the file looked like."""
    report: dict[str, Any] | None
    """What the check said of the files; null for versions from before that was kept."""


class VersionRecord(BaseModel):
    """One tuned version or checkpoint: what it is, what made it, what came of it."""

    object: Literal["tailor.version"] = "tailor.version"
    id: str
    created_at: int
    kind: Literal["version", "checkpoint"]
    aliases: list[str]
    tags: list[str]
    base: str
    base_digest: str
    template_digest: str
    parent: str | None
    """The version it was trained on from."""
    children: list[str]
    """Versions that were trained on from it."""
    job: str
    step: int
    method: str
    adapter: str
    digest: str
    """Of the weights."""
    seed: int
    recipe: dict[str, Any]
    options: dict[str, Any]
    """The `tailor` object of the job."""
    software: dict[str, Any]
    metrics: dict[str, Any]
    verdict: str | None
    """The proof's sentence."""
    score: float | None
    """Of the proof, on held-out items."""
    data: VersionData | None = None
    """Null in lists, as are the fields below."""
    notes: list[VersionNote] | None = None
    evaluations: list[VersionEvaluation] | None = None
    proof: Proof | None = None


class VersionUpdate(BaseModel):
    """Tags and notes; nothing else of a version ever changes."""

    model_config = ConfigDict(extra="forbid")

    add_tags: Annotated[list[Tag], Field(max_length=32)] = []
    remove_tags: Annotated[list[Tag], Field(max_length=32)] = []
    note: Annotated[str, Field(min_length=1, max_length=10_000)] | None = None


class Reproduction(BaseModel):
    """A version made again, held against the first one."""

    object: Literal["tailor.reproduction"] = "tailor.reproduction"
    version: str
    job: str
    status: str
    """Of the job."""
    model: str | None
    """What came out; null until the job has succeeded."""
    verdict: Literal["same bytes", "same figures", "different"] | None
    sentence: str | None
    differences: list[str]
    """What is not as it was: of recipe, base, software and metrics."""
