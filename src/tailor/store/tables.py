"""The tables as they are now; how a database gets here from empty is in `migrations/`.

Every table that holds something of a tenant's has the column `tenant`, and every statement that a
caller can cause names it (reliability R4). Order is by `sequence`, never by the clock.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

schema = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ACROSS_TENANTS = {"across_tenants": True}
"""Marks the few statements of our own (queue, sweeps) that look at every tenant's rows."""


def _sequence() -> Column[int]:
    # SQLite only counts a plain INTEGER primary key up by itself.
    return Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _json(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, JSON(none_as_null=True), nullable=nullable)


files = Table(
    "files",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("sha256", Text, nullable=False, index=True),
    Column("once_key", Text),
    UniqueConstraint("tenant", "once_key"),
    Index(None, "tenant", "sequence"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("status", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("requested_model", Text, nullable=False),
    Column("base", Text, nullable=False),
    Column("parent", Text),
    Column("training_file", Text, nullable=False),
    Column("training_sha256", Text, nullable=False),
    Column("validation_file", Text),
    Column("validation_sha256", Text),
    Column("suffix", Text),
    Column("seed", BigInteger, nullable=False),
    _json("metadata", nullable=True),
    _json("method"),
    _json("hyperparameters"),
    _json("options"),
    _json("integrations"),
    Column("fine_tuned_model", Text),
    Column("trained_tokens", BigInteger),
    _json("result_files"),
    _json("error", nullable=True),
    Column("step", BigInteger, nullable=False),
    Column("total_steps", BigInteger),
    Column("saved_step", BigInteger, nullable=False),
    Column("estimated_finish", BigInteger),
    Column("token", BigInteger, nullable=False),
    Column("owner", Text),
    Column("hb", BigInteger, nullable=False),
    Column("wanted", Text, nullable=False),
    Column("resume_status", Text, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("attempt_step", BigInteger, nullable=False),
    Column("pause_reason", Text),
    Column("max_microbatch_tokens", BigInteger),
    Column("idempotency_key", Text),
    Column("spec_sha256", Text, nullable=False),
    UniqueConstraint("tenant", "idempotency_key"),
    Index(None, "tenant", "sequence"),
    Index(None, "status", "sequence"),
    Index(None, "tenant", "spec_sha256"),
    sqlite_autoincrement=True,
)

job_metadata = Table(
    "job_metadata",
    schema,
    Column("owner_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Index(None, "tenant", "key", "value"),
)

events = Table(
    "events",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("level", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("type", Text, nullable=False),
    _json("data"),
    Column("once_key", Text),
    UniqueConstraint("job_id", "once_key"),
    Index(None, "job_id", "sequence"),
    sqlite_autoincrement=True,
)

checkpoints = Table(
    "checkpoints",
    schema,
    Column("id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    _json("metrics"),
    UniqueConstraint("job_id", "step"),
)

saves = Table(
    "saves",
    schema,
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("step", BigInteger, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("directory", Text, nullable=False),
    Column("token", BigInteger, nullable=False),
)

versions = Table(
    "versions",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("base", Text, nullable=False),
    Column("base_digest", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("job_id", Text, ForeignKey("jobs.id"), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("digest", Text, nullable=False, index=True),
    Column("adapter", Text, nullable=False),
    Column("dataset_fingerprint", Text, nullable=False),
    _json("recipe"),
    Column("template_digest", Text, nullable=False),
    _json("software"),
    _json("metrics"),
    Column("parent", Text),
    _json("proof", nullable=True),
    _json("data", nullable=True),
    Column("place", Text, nullable=False),
    UniqueConstraint("job_id", "place"),
    Index(None, "tenant", "sequence"),
    sqlite_autoincrement=True,
)

version_tags = Table(
    "version_tags",
    schema,
    Column("tenant", Text, nullable=False),
    Column("version", Text, ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("tag", Text, primary_key=True),
)

version_notes = Table(
    "version_notes",
    schema,
    _sequence(),
    Column("tenant", Text, nullable=False),
    Column("version", Text, ForeignKey("versions.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", BigInteger, nullable=False),
    Column("text", Text, nullable=False),
    sqlite_autoincrement=True,
)

aliases = Table(
    "aliases",
    schema,
    Column("tenant", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("moved_at", BigInteger, nullable=False),
    Index(None, "tenant", "model"),
)

alias_moves = Table(
    "alias_moves",
    schema,
    _sequence(),
    Column("tenant", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("action", Text, nullable=False),
    Column("model", Text),
    Column("previous", Text),
    Column("key_id", Text, nullable=False),
    Column("forced", Boolean, nullable=False),
    Column("reason", Text),
    _json("gate", nullable=True),
    Index(None, "tenant", "alias", "sequence"),
    sqlite_autoincrement=True,
)

bases = Table(
    "bases",
    schema,
    _sequence(),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", BigInteger, nullable=False),
    Column("directory", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("template_digest", Text, nullable=False),
    Column("context_length", BigInteger, nullable=False),
    Column("parameters", BigInteger, nullable=False),
    Column("model_type", Text, nullable=False),
    Column("is_default", Boolean, nullable=False),
    sqlite_autoincrement=True,
)

keys = Table(
    "keys",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("last4", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

completions = Table(
    "completions",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("model", Text, nullable=False),
    _json("messages"),
    _json("answer"),
    _json("metadata", nullable=True),
    Index(None, "tenant", "sequence"),
    sqlite_autoincrement=True,
)

completion_metadata = Table(
    "completion_metadata",
    schema,
    Column("owner_id", Text, ForeignKey("completions.id", ondelete="CASCADE"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("tenant", Text, nullable=False),
    Index(None, "tenant", "key", "value"),
)

evals = Table(
    "evals",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    _json("data_source_config"),
    _json("testing_criteria"),
    _json("metadata", nullable=True),
    Index(None, "tenant", "sequence"),
    Index(None, "tenant", "revision"),
    sqlite_autoincrement=True,
)

eval_runs = Table(
    "eval_runs",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("eval_id", Text, ForeignKey("evals.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("name", Text, nullable=False),
    Column("model", Text),
    Column("status", Text, nullable=False),
    _json("data_source"),
    _json("metadata", nullable=True),
    Column("sha256", Text, index=True),
    Column("is_prepared", Boolean, nullable=False),
    _json("error", nullable=True),
    Column("total", BigInteger, nullable=False),
    _json("tally"),
    Column("recorded", BigInteger, nullable=False),
    Column("attempt_recorded", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("token", BigInteger, nullable=False),
    Column("owner", Text),
    Column("hb", BigInteger, nullable=False),
    Column("report_token", Text, nullable=False),
    Column("spec_sha256", Text, nullable=False),
    Index(None, "tenant", "eval_id", "sequence"),
    Index(None, "status", "sequence"),
    sqlite_autoincrement=True,
)

eval_items = Table(
    "eval_items",
    schema,
    _sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("tenant", Text, nullable=False),
    Column("run_id", Text, ForeignKey("eval_runs.id", ondelete="CASCADE"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("finished_at", BigInteger),
    Column("status", Text),
    _json("row"),
    _json("sample", nullable=True),
    _json("results", nullable=True),
    UniqueConstraint("run_id", "position"),
    Index(None, "tenant", "run_id", "sequence"),
    sqlite_autoincrement=True,
)

usage = Table(
    "usage",
    schema,
    Column("tenant", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("day", BigInteger, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
    Column("nanodollars", BigInteger, nullable=False),
)
