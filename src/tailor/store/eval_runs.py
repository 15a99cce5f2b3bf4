"""Runs of evals and their rows, as callers see them; who works on a run is in `eval_queue`."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, and_, select

from tailor.errors import InvalidRequest, NotFound
from tailor.protocol.ids import is_id, new_id
from tailor.store.blobs import Blobs
from tailor.store.database import Database
from tailor.store.eval_records import EvalItem, EvalRun, ItemStatus, RunSpec, RunStatus, Tally
from tailor.store.evals import find_eval
from tailor.store.files import RETRY_WINDOW_SECONDS, find_file
from tailor.store.paging import Order, Window, read_page
from tailor.store.records import Page, to_record
from tailor.store.tables import ACROSS_TENANTS, eval_items, eval_runs

FREED: dict[str, Any] = {"owner": None, "token": eval_runs.c.token + 1}
"""Takes a run from whoever holds it."""


class EvalRuns:
    """A tenant's runs."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    def add(self, tenant: str, eval_id: str, spec: RunSpec, *, retry: bool = False) -> EvalRun:
        """Queue a run; raises NotFound for the eval, InvalidRequest for the file.

        With `retry` (the client says that it sends this again) an equal run of the last 15 minutes is
        returned instead of a second one.
        """
        now = int(time.time())
        digest = _digest(eval_id, spec)
        with self._blobs.guard(), self._database.write() as connection:
            found = find_eval(connection, tenant, eval_id, lock=True)
            if retry and (earlier := _earlier(connection, tenant, eval_id, digest, now)) is not None:
                return earlier
            tally = Tally(criteria=((0, 0),) * len(found.testing_criteria))
            values = {
                "id": new_id("eval_run"),
                "tenant": tenant,
                "eval_id": eval_id,
                "created_at": now,
                "name": spec.name,
                "model": spec.model,
                "status": "queued",
                "data_source": spec.data_source,
                "metadata": spec.metadata,
                "sha256": _pinned(connection, tenant, spec.file),
                "is_prepared": False,
                "total": 0,
                "tally": tally.to_json(),
                "recorded": 0,
                "attempt_recorded": 0,
                "attempts": 0,
                "token": 0,
                "hb": 0,
                "report_token": secrets.token_urlsafe(32),
                "spec_sha256": digest,
            }
            connection.execute(eval_runs.insert().values(values))
            return find_run(connection, tenant, eval_id, str(values["id"]))

    def get(self, tenant: str, eval_id: str, run_id: str) -> EvalRun:
        """The run as it is now; raises NotFound."""
        with self._database.read() as connection:
            return find_run(connection, tenant, eval_id, run_id)

    def list(
        self,
        tenant: str,
        eval_id: str,
        *,
        status: RunStatus | None = None,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> Page[EvalRun]:
        """An eval's runs, oldest first unless asked otherwise (default limit 20); raises NotFound."""
        where = and_(eval_runs.c.tenant == tenant, eval_runs.c.eval_id == eval_id)
        if status is not None:
            where = and_(where, eval_runs.c.status == status)
        window = Window(after=after, limit=limit, default=20, maximum=100, order=order)
        with self._database.read() as connection:
            find_eval(connection, tenant, eval_id)
            return read_page(connection, eval_runs, window, where=where, to_item=to_run)

    def of_model(self, tenant: str, model: str) -> tuple[EvalRun, ...]:
        """Every run that asked this model, newest first."""
        query = (
            select(eval_runs)
            .where(eval_runs.c.tenant == tenant, eval_runs.c.model == model)
            .order_by(eval_runs.c.sequence.desc())
        )
        with self._database.read() as connection:
            return tuple(to_run(dict(row)) for row in connection.execute(query).mappings())

    def cancel(self, tenant: str, eval_id: str, run_id: str) -> EvalRun:
        """End the run now; what is graded stays. Raises InvalidRequest when it has ended already."""
        with self._database.write() as connection:
            run = find_run(connection, tenant, eval_id, run_id, lock=True)
            if run.is_ended:
                raise InvalidRequest(
                    f"Run {run_id} is {run.status} and cannot be canceled.",
                    param="run_id",
                    code="run_not_cancelable",
                )
            ended = {"status": "canceled", "finished_at": int(time.time())}
            connection.execute(_one(tenant, run_id).values(FREED | ended))
            return find_run(connection, tenant, eval_id, run_id)

    def delete(self, tenant: str, eval_id: str, run_id: str) -> None:
        """Remove the run and its rows; one that is going on ends. Raises NotFound."""
        with self._database.write() as connection:
            find_run(connection, tenant, eval_id, run_id, lock=True)
            connection.execute(
                eval_runs.delete().where(eval_runs.c.tenant == tenant, eval_runs.c.id == run_id)
            )

    def items(
        self,
        tenant: str,
        eval_id: str,
        run_id: str,
        *,
        status: ItemStatus | None = None,
        after: str | None = None,
        limit: int | None = None,
        order: Order = "asc",
    ) -> Page[EvalItem]:
        """Graded rows, in the data's order unless asked otherwise (default limit 20); raises NotFound."""
        where = and_(eval_items.c.tenant == tenant, eval_items.c.run_id == run_id)
        where = and_(
            where, eval_items.c.status.is_not(None) if status is None else eval_items.c.status == status
        )
        window = Window(after=after, limit=limit, default=20, maximum=100, order=order)
        with self._database.read() as connection:
            find_run(connection, tenant, eval_id, run_id)
            return read_page(connection, eval_items, window, where=where, to_item=to_item)

    def item(self, tenant: str, eval_id: str, run_id: str, item_id: str) -> EvalItem:
        """One graded row; raises NotFound."""
        with self._database.read() as connection:
            find_run(connection, tenant, eval_id, run_id)
            if is_id(item_id):
                query = select(eval_items).where(
                    eval_items.c.tenant == tenant,
                    eval_items.c.run_id == run_id,
                    eval_items.c.id == item_id,
                    eval_items.c.status.is_not(None),
                )
                row = connection.execute(query).mappings().one_or_none()
                if row is not None:
                    return to_item(dict(row))
        raise NotFound(
            f"There is no output item {item_id[:80]}.", param="output_item_id", code="output_item_not_found"
        )

    def reader(self, run_id: str, token: str) -> str | None:
        """The tenant whose report this token opens; None if it opens none. Wrong tokens all cost the same."""
        query = select(eval_runs.c.tenant, eval_runs.c.report_token).where(eval_runs.c.id == run_id)
        with self._database.read() as connection:
            row = connection.execute(query, execution_options=ACROSS_TENANTS).one_or_none()
        expected = "" if row is None else row.report_token
        is_right = hmac.compare_digest(token.encode(), expected.encode())
        return row.tenant if row is not None and is_right else None


def find_run(
    connection: Connection, tenant: str, eval_id: str, run_id: str, *, lock: bool = False
) -> EvalRun:
    """A tenant's run of that eval; unknown and foreign ids are the same NotFound."""
    if is_id(run_id) and is_id(eval_id):
        query = select(eval_runs).where(
            eval_runs.c.tenant == tenant, eval_runs.c.id == run_id, eval_runs.c.eval_id == eval_id
        )
        row = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
        if row is not None:
            return to_run(dict(row))
    raise NotFound(f"There is no eval run {run_id[:80]}.", param="run_id", code="eval_run_not_found")


def to_run(row: Mapping[str, Any]) -> EvalRun:
    """A run from its row."""
    return to_record(EvalRun, dict(row) | {"tally": Tally.parse(row["tally"])})


def to_item(row: Mapping[str, Any]) -> EvalItem:
    """An item from its row."""
    return to_record(EvalItem, row)


def _one(tenant: str, run_id: str) -> Any:
    return eval_runs.update().where(eval_runs.c.tenant == tenant, eval_runs.c.id == run_id)


def _pinned(connection: Connection, tenant: str, file_id: str | None) -> str | None:
    """The bytes of the file, which stay while the run has not read them."""
    if file_id is None:
        return None
    try:
        return find_file(connection, tenant, file_id, lock=True).sha256
    except NotFound as error:
        raise InvalidRequest(
            f"There is no file {file_id[:80]}.",
            param="data_source.source.id",
            code="file_not_found",
            remedy="Upload it with purpose 'evals' and use the id that comes back.",
        ) from error


def _digest(eval_id: str, spec: RunSpec) -> str:
    asked = [eval_id, spec.name, spec.model, spec.data_source, spec.metadata]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def _earlier(connection: Connection, tenant: str, eval_id: str, digest: str, now: int) -> EvalRun | None:
    query = (
        select(eval_runs)
        .where(
            eval_runs.c.tenant == tenant,
            eval_runs.c.eval_id == eval_id,
            eval_runs.c.spec_sha256 == digest,
            eval_runs.c.created_at > now - RETRY_WINDOW_SECONDS,
        )
        .order_by(eval_runs.c.sequence.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else to_run(dict(row))
