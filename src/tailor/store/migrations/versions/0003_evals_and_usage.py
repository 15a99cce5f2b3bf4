"""Evals with their runs and rows, and what was used of upstream models."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _sequence() -> sa.Column[int]:
    return sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def _json(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(none_as_null=True), nullable=nullable)


def upgrade() -> None:
    """Add the four tables."""
    op.create_table(
        "evals",
        _sequence(),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        _json("data_source_config"),
        _json("testing_criteria"),
        _json("metadata", nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_evals")),
        sa.UniqueConstraint("id", name=op.f("uq_evals_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_evals_tenant_sequence"), "evals", ["tenant", "sequence"], unique=False)
    op.create_index(op.f("ix_evals_tenant_revision"), "evals", ["tenant", "revision"], unique=False)
    op.create_table(
        "eval_runs",
        _sequence(),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("eval_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        _json("data_source"),
        _json("metadata", nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("is_prepared", sa.Boolean(), nullable=False),
        _json("error", nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        _json("tally"),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.Column("attempt_recorded", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("hb", sa.BigInteger(), nullable=False),
        sa.Column("report_token", sa.Text(), nullable=False),
        sa.Column("spec_sha256", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["eval_id"], ["evals.id"], name=op.f("fk_eval_runs_eval_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_eval_runs")),
        sa.UniqueConstraint("id", name=op.f("uq_eval_runs_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_eval_runs_tenant_eval_id_sequence"),
        "eval_runs",
        ["tenant", "eval_id", "sequence"],
        unique=False,
    )
    op.create_index(op.f("ix_eval_runs_status_sequence"), "eval_runs", ["status", "sequence"], unique=False)
    op.create_index(op.f("ix_eval_runs_sha256"), "eval_runs", ["sha256"], unique=False)
    op.create_table(
        "eval_items",
        _sequence(),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("run_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        _json("row"),
        _json("sample", nullable=True),
        _json("results", nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["eval_runs.id"], name=op.f("fk_eval_items_run_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_eval_items")),
        sa.UniqueConstraint("id", name=op.f("uq_eval_items_id")),
        sa.UniqueConstraint("run_id", "position", name=op.f("uq_eval_items_run_id_position")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_eval_items_tenant_run_id_sequence"),
        "eval_items",
        ["tenant", "run_id", "sequence"],
        unique=False,
    )
    op.create_table(
        "usage",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cached_tokens", sa.BigInteger(), nullable=False),
        sa.Column("nanodollars", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "model", "day", name=op.f("pk_usage")),
    )
