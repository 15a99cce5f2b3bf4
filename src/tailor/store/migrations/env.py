"""Runs the steps on the connection, and inside the transaction, that `migrate` hands over."""

from __future__ import annotations

from alembic import context

from tailor.store.tables import schema

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema,
    render_as_batch=True,
    # The caller's transaction holds all steps together.
    transactional_ddl=False,
)
context.run_migrations()
