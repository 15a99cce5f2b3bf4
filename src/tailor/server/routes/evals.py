"""Evals, their runs and what came of every row (contract 1.6)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import HTMLResponse, Response

from tailor.errors import InvalidRequest
from tailor.evals.runs import check_rows, check_schema, probe, row_json
from tailor.protocol import CursorPage
from tailor.protocol.eval_replies import EvalDeleted, EvalObject, OutputItem, RunDeleted, RunObject
from tailor.protocol.eval_runs import (
    DataSource,
    FileContentSource,
    FileIdSource,
    JsonlDataSource,
    RunRequest,
    StoredCompletionsSource,
    StoredResponsesSource,
)
from tailor.protocol.evals import CustomConfig, EvalRequest, EvalUpdate, ItemStatus, RunStatus
from tailor.server.calls import Call, Reading, Writing
from tailor.server.eval_objects import eval_object, item_object, run_object
from tailor.server.pages import html_page
from tailor.server.report import report_page
from tailor.server.requests import Cursor, Order, new_router
from tailor.server.routes.graders import check_grader
from tailor.server.translate import page_object
from tailor.store import EvalRun, RunSpec, Version

router = new_router("evals", "/v1/evals")

OrderBy = Annotated[Literal["created_at", "updated_at"] | None, Query(description="What the order goes by.")]
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {"description": "The page.", "content": {"text/html": {"schema": {"type": "string"}}}}
}


@router.post("", status_code=201)
def create_eval(call: Writing, body: EvalRequest) -> EvalObject:
    """Say what is to be graded, and by what."""
    config = body.data_source_config
    if isinstance(config, CustomConfig):
        check_schema(config.item_schema)
    for number, criterion in enumerate(body.testing_criteria):
        try:
            check_grader(call, criterion, load=True)
        except InvalidRequest as error:
            error.param = f"testing_criteria[{number}]{(error.param or '').removeprefix('grader')}"
            raise
    kept = call.store.evals.add(
        call.tenant,
        name=body.name or "Untitled eval",
        data_source_config=config.model_dump(exclude_none=True),
        testing_criteria=[one.model_dump(exclude_none=True) for one in body.testing_criteria],
        metadata=body.metadata,
    )
    return eval_object(kept)


@router.get("")
def list_evals(
    call: Reading, cursor: Cursor, order: Order = None, order_by: OrderBy = None
) -> CursorPage[EvalObject]:
    """Evals, oldest first."""
    page = call.store.evals.list(
        call.tenant,
        after=cursor.after,
        limit=cursor.limit,
        order=order or "asc",
        order_by=order_by or "created_at",
    )
    return page_object(page, eval_object)


@router.get("/{eval_id}")
def retrieve_eval(call: Reading, eval_id: str) -> EvalObject:
    """One eval."""
    return eval_object(call.store.evals.get(call.tenant, eval_id))


@router.post("/{eval_id}")
def update_eval(call: Writing, eval_id: str, body: EvalUpdate) -> EvalObject:
    """Change name or metadata; what is graded, and by what, stays."""
    given = body.model_dump(exclude_unset=True)
    if given.get("name", "") is None:
        del given["name"]
    return eval_object(call.store.evals.update(call.tenant, eval_id, **given))


@router.delete("/{eval_id}")
def delete_eval(call: Writing, eval_id: str) -> EvalDeleted:
    """Delete an eval with all its runs."""
    call.store.evals.delete(call.tenant, eval_id)
    return EvalDeleted(eval_id=eval_id)


@router.post("/{eval_id}/runs", status_code=201)
def create_run(call: Writing, eval_id: str, body: RunRequest) -> RunObject:
    """Grade data; the same request sent again after a lost answer gives the same run."""
    evaluation = call.store.evals.get(call.tenant, eval_id)
    source = _without_alias(call, body.data_source)
    _check_source(source, evaluation.data_source_config)
    model = _check_model(call, source)
    spec = RunSpec(
        name=body.name or "Untitled run",
        model=model,
        data_source=source.model_dump(exclude_unset=True),
        metadata=body.metadata,
        file=source.source.id if isinstance(source.source, FileIdSource) else None,
    )
    run = call.store.eval_runs.add(call.tenant, eval_id, spec, retry=call.is_retry)
    call.wake_runner()
    return run_object(run, evaluation, root=_root(call))


@router.get("/{eval_id}/runs")
def list_runs(
    call: Reading, eval_id: str, cursor: Cursor, order: Order = None, status: RunStatus | None = None
) -> CursorPage[RunObject]:
    """An eval's runs, oldest first."""
    evaluation = call.store.evals.get(call.tenant, eval_id)
    page = call.store.eval_runs.list(
        call.tenant, eval_id, status=status, after=cursor.after, limit=cursor.limit, order=order or "asc"
    )
    return page_object(page, lambda run: run_object(run, evaluation, root=_root(call)))


@router.get("/{eval_id}/runs/{run_id}")
def retrieve_run(call: Reading, eval_id: str, run_id: str) -> RunObject:
    """One run, as far as it has come."""
    return _to_wire(call, call.store.eval_runs.get(call.tenant, eval_id, run_id))


@router.post("/{eval_id}/runs/{run_id}")
def cancel_run_as_before(call: Writing, eval_id: str, run_id: str) -> RunObject:
    """End a run now; what OpenAI's client did before 3.23."""
    return _to_wire(call, call.store.eval_runs.cancel(call.tenant, eval_id, run_id))


@router.post("/{eval_id}/runs/{run_id}/cancel")
def cancel_run(call: Writing, eval_id: str, run_id: str) -> RunObject:
    """End a run now; what is graded stays."""
    return _to_wire(call, call.store.eval_runs.cancel(call.tenant, eval_id, run_id))


@router.delete("/{eval_id}/runs/{run_id}")
def delete_run(call: Writing, eval_id: str, run_id: str) -> RunDeleted:
    """Delete a run with its rows."""
    call.store.eval_runs.delete(call.tenant, eval_id, run_id)
    return RunDeleted(run_id=run_id)


@router.get("/{eval_id}/runs/{run_id}/output_items")
def list_output_items(
    call: Reading,
    eval_id: str,
    run_id: str,
    cursor: Cursor,
    order: Order = None,
    status: ItemStatus | None = None,
) -> CursorPage[OutputItem]:
    """Rows that are graded, in the order of the data."""
    run = call.store.eval_runs.get(call.tenant, eval_id, run_id)
    page = call.store.eval_runs.items(
        call.tenant,
        eval_id,
        run_id,
        status=status,
        after=cursor.after,
        limit=cursor.limit,
        order=order or "asc",
    )
    return page_object(page, lambda item: item_object(item, run))


@router.get("/{eval_id}/runs/{run_id}/output_items/{item_id}")
def retrieve_output_item(call: Reading, eval_id: str, run_id: str, item_id: str) -> OutputItem:
    """One graded row."""
    run = call.store.eval_runs.get(call.tenant, eval_id, run_id)
    return item_object(call.store.eval_runs.item(call.tenant, eval_id, run_id, item_id), run)


@router.get(
    "/{eval_id}/runs/{run_id}/report",
    response_class=Response,  # of no type: failures are JSON
    responses=_PAGE,
    openapi_extra={"security": [{"key": []}, {}]},
)
def run_report(
    call: Reading,
    eval_id: str,
    run_id: str,
    token: Annotated[str | None, Query(max_length=64, description="Instead of a key.")] = None,
) -> HTMLResponse:
    """A page for people. The address in `report_url` opens it in a browser, without a key."""
    run = call.store.eval_runs.get(call.tenant, eval_id, run_id)
    evaluation = call.store.evals.get(call.tenant, eval_id)
    worst = [
        item
        for status in ("error", "fail", "pass")
        for item in call.store.eval_runs.items(call.tenant, eval_id, run_id, status=status, limit=100).items
    ]
    return html_page(report_page(run, evaluation, worst))


def _check_source(source: DataSource, config: dict[str, Any]) -> None:
    """Refuse data that this server could not grade."""
    origin = source.source
    if isinstance(origin, StoredResponsesSource):
        raise InvalidRequest(
            "This server keeps no responses.",
            param="data_source.source.type",
            code="unsupported_value",
            remedy="Keep chat completions with store: true and use a source of type stored_completions.",
        )
    if isinstance(source, JsonlDataSource):
        if isinstance(origin, StoredCompletionsSource):
            raise InvalidRequest(
                "Stored completions are no JSONL.",
                param="data_source.type",
                code="invalid_value",
                remedy="Use a data source of type completions.",
            )
    elif source.model and source.input_messages is None and not isinstance(origin, StoredCompletionsSource):
        raise InvalidRequest(
            f"Nothing says what {source.model} is to be asked.",
            param="data_source.input_messages",
            code="missing_required_parameter",
            remedy="Give input_messages: a template, or an item_reference.",
        )
    if isinstance(origin, FileContentSource):
        check_rows(map(row_json, origin.content), config)


def _without_alias(call: Call, source: DataSource) -> DataSource:
    """The source with the model that its alias means now: one run asks one model, whatever is moved."""
    if isinstance(source, JsonlDataSource) or source.model is None:
        return source
    meant = call.store.aliases.resolve(call.tenant, source.model)
    if meant is None:
        return source
    return source.model_copy(update={"model": meant.id if isinstance(meant, Version) else meant.name})


def _check_model(call: Call, source: DataSource) -> str | None:
    """The model that will answer, if one is asked; refuses what it could not be asked."""
    if isinstance(source, JsonlDataSource) or source.model is None:
        return None
    asking = call.services.asking
    asking.check_model(call.tenant, source.model, param="data_source.model", purpose="answer")
    asking.check(call.tenant, probe(source))
    return source.model


def _to_wire(call: Call, run: EvalRun) -> RunObject:
    return run_object(run, call.store.evals.get(call.tenant, run.eval_id), root=_root(call))


def _root(call: Call) -> str:
    """The address under which the caller reached us; the Host header has been checked."""
    return f"{call.request.url.scheme}://{call.request.headers['host']}"
