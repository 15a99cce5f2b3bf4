"""How many tokens a job computes at a time: the attempt after one that ran out of memory takes fewer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; jobs from before have no number."""
    op.add_column("jobs", sa.Column("max_microbatch_tokens", sa.BigInteger(), nullable=True))
