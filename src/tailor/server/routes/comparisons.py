"""Comparisons (ours): any number of models on the same items; each is an eval with a run per model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Query
from starlette.responses import Response

from tailor.data import Cases, read_cases
from tailor.errors import InvalidRequest, NotFound
from tailor.evals.comparison import Answered, compare
from tailor.evals.questions import COMPARISON, criteria_of, longest_answer, rows_of, source_of
from tailor.protocol import Proof, VersionName
from tailor.protocol.comparisons import Comparison, ComparisonRequest
from tailor.server.calls import Call, Reading, Writing
from tailor.server.comparison_page import comparison_page
from tailor.server.pages import html_page
from tailor.server.requests import new_router
from tailor.store import EvalItem, EvalRun, RunSpec, Version

router = new_router("tailor", "/v1/tailor/comparisons")

_MAX_BYTES = 64 * 1024 * 1024
_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The comparison: JSON, or a page with `format=html`.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}


@router.post("", status_code=201)
def create_comparison(call: Writing, body: ComparisonRequest) -> Comparison:
    """Have models answer the same items; ask again for it until its status is `completed`."""
    models = [_meant(call, model) for model in body.models]
    if len(set(models)) < len(models):
        raise InvalidRequest("A model is named twice, or by two names.", param="models", code="invalid_value")
    for model in models:
        call.services.asking.check_model(call.tenant, model, param="models", purpose="be compared")
    file_id = body.file or _proven_on(call, models)
    cases = _cases(call, file_id)
    rows = rows_of(cases.cases, body.limit)
    file = call.store.files.add(
        call.tenant, data=_jsonl(rows), filename=f"{file_id}-compared.jsonl", purpose="evals"
    )
    evaluation = call.store.evals.add(
        call.tenant,
        name=body.name or f"Comparison of {len(models)} models",
        data_source_config={
            "type": "custom",
            "item_schema": {"type": "object"},
            "include_sample_schema": True,
        },
        testing_criteria=criteria_of(cases.cases),
        metadata=COMPARISON | {"file": file_id},
    )
    cap = longest_answer(cases.cases, body.max_tokens)
    for model in models:
        source = source_of(model, file.id, cases.cases[0].tools, max_tokens=cap)
        spec = RunSpec(name=model[:256], model=model, data_source=source, file=file.id)
        call.store.eval_runs.add(call.tenant, evaluation.id, spec)
    call.wake_runner()
    return _comparison(call, evaluation.id)


@router.get("/{comparison_id}", response_model=Comparison, responses=_PAGE)
def retrieve_comparison(
    call: Reading, comparison_id: str, format: Annotated[Literal["json", "html"], Query()] = "json"
) -> Comparison | Response:
    """A comparison as far as it has come; any eval with runs of two models is one."""
    found = _comparison(call, comparison_id)
    if format == "html":
        return html_page(comparison_page(found))
    return found


def answered_runs(call: Call, runs: Sequence[EvalRun]) -> list[Answered]:
    """Runs with their graded rows."""
    return [Answered(run=run, items=_items(call, run)) for run in runs]


def _comparison(call: Call, eval_id: str) -> Comparison:
    evaluation = call.store.evals.get(call.tenant, eval_id)
    newest: dict[str, EvalRun] = {}
    order: list[str] = []
    for run in _runs(call, eval_id):
        name = run.model or run.name
        if name not in newest:
            order.append(name)
        newest[name] = run
    if len(order) < 2:
        raise InvalidRequest(
            f"{eval_id} has runs of {len(order)} models; it takes two to compare.",
            param="comparison_id",
            code="nothing_to_compare",
        )
    runs = [newest[name] for name in order]
    is_done = all(run.status == "completed" for run in runs)
    found = compare(
        evaluation, answered_runs(call, runs) if is_done else [Answered(run=run, items=()) for run in runs]
    )
    asked = (evaluation.metadata or {}).get("file")
    return found.model_copy(update={"file": asked}) if asked else found


def _runs(call: Call, eval_id: str) -> list[EvalRun]:
    found: list[EvalRun] = []
    after: str | None = None
    while True:
        page = call.store.eval_runs.list(call.tenant, eval_id, after=after, limit=100)
        found += page.items
        if not page.has_more:
            return found
        after = page.items[-1].id


def _items(call: Call, run: EvalRun) -> list[EvalItem]:
    found: list[EvalItem] = []
    after: str | None = None
    while True:
        page = call.store.eval_runs.items(call.tenant, run.eval_id, run.id, after=after, limit=100)
        found += page.items
        if not page.has_more:
            return found
        after = page.items[-1].id


def _meant(call: Call, model: str) -> str:
    """The model behind a name: an alias may be moved while the runs are going on."""
    if VersionName.parse(model) or call.services.asking.gateway.find(model) is not None:
        return model
    found = call.store.aliases.resolve(call.tenant, model)
    if isinstance(found, Version):
        return found.id
    try:
        return (found or call.store.bases.resolve(model).base).name
    except NotFound:
        return model  # said by whoever checks the models


def _proven_on(call: Call, models: Sequence[str]) -> str:
    """The held-out file of the first version that still has one."""
    for model in models:
        if VersionName.parse(model):
            proof = call.store.versions.get(call.tenant, model).proof
            file_id = Proof.model_validate(proof).file if proof else None
            if file_id is not None and _is_here(call, file_id):
                return file_id
    raise InvalidRequest(
        "None of these models was proven on a file that is still here: there is nothing to compare them on.",
        param="file",
        code="missing_required_parameter",
        remedy="Give a file of cases: `file` in the request, --data FILE on the command line.",
    )


def _is_here(call: Call, file_id: str) -> bool:
    try:
        call.store.files.get(call.tenant, file_id)
    except NotFound:
        return False
    return True


def _cases(call: Call, file_id: str) -> Cases:
    try:
        record = call.store.files.get(call.tenant, file_id)
    except NotFound as error:
        raise InvalidRequest(
            f"There is no file {file_id[:80]}.", param="file", code="file_not_found"
        ) from error
    if record.bytes > _MAX_BYTES:
        raise InvalidRequest(
            f"The file has {record.bytes:,} bytes; up to {_MAX_BYTES:,} are compared on.",
            param="file",
            code="file_too_large",
        )
    with call.store.files.open(call.tenant, file_id) as stream:
        cases = read_cases(stream, name=record.filename)
    if not cases.report.ok:
        raise InvalidRequest(
            f"{cases.report.summary()}.\n{cases.report.listing()}",
            param="file",
            code="invalid_cases",
            details={"problems": cases.report.to_dict()["problems"]},
        )
    return cases


def _jsonl(rows: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)
