"""Aliases with their history, tags and notes of versions, and what a version's data looked like."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def _sequence() -> sa.Column[int]:
    return sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)


def upgrade() -> None:
    """Add four tables and a column; versions from before have no data report."""
    op.create_table(
        "aliases",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("moved_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_aliases")),
    )
    op.create_index(op.f("ix_aliases_tenant_model"), "aliases", ["tenant", "model"], unique=False)
    op.create_table(
        "alias_moves",
        _sequence(),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.Column("previous", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("forced", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("gate", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_alias_moves")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        op.f("ix_alias_moves_tenant_alias_sequence"),
        "alias_moves",
        ["tenant", "alias", "sequence"],
        unique=False,
    )
    op.create_table(
        "version_tags",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["versions.id"], name=op.f("fk_version_tags_version"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("version", "tag", name=op.f("pk_version_tags")),
    )
    op.create_table(
        "version_notes",
        _sequence(),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version"], ["versions.id"], name=op.f("fk_version_notes_version"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_version_notes")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_version_notes_version"), "version_notes", ["version"], unique=False)
    op.add_column("versions", sa.Column("data", sa.JSON(none_as_null=True), nullable=True))
