"""Data reports (ours, under /v1/tailor): what the data doctor says about an uploaded file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from tailor.data.doctor import Diagnosis, Options, TokenCount, diagnose_jsonl
from tailor.data.report import page_of
from tailor.errors import InvalidRequest
from tailor.models import token_counter
from tailor.server.calls import Call, Reading
from tailor.server.pages import html_page
from tailor.server.requests import new_router

router = new_router("tailor", "/v1/tailor")

_MAX_REPORT_BYTES = 64 * 1024 * 1024
"""A check of this much takes about a minute of one processor."""

_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report: JSON, or a page with `format=html`.",
        "content": {"text/html": {"schema": {"type": "string"}}},
    }
}


class FileReport(BaseModel):
    """What a check of a training file found."""

    model_config = ConfigDict(extra="forbid")

    object: Literal["tailor.file_report"] = "tailor.file_report"
    file: str
    ok: bool
    """Whether a job can train on it."""
    summary: str
    num_lines: int
    num_examples: int
    num_blocking: int
    num_advice: int
    counts: dict[str, int]
    """How often each kind of problem was found."""
    problems: list[dict[str, Any]]
    """The first hundred: line, field, code, message, remedy, severity."""
    task: dict[str, Any]
    """What the file teaches, by its answers."""
    tokens: dict[str, Any] | None
    """Lengths and sums; null where there is no example."""
    validation: str | None
    """The file it was held against."""
    findings: list[dict[str, Any]]
    """The same by kind: title, lines, message, why, remedy, fix; blocking ones first, then by weight."""
    figures: dict[str, dict[str, Any]]
    """Numbers for plots: lengths, classes, copies, languages, map."""
    unchecked: list[str]
    """What was not looked for, or only in a part."""
    places: dict[str, str]
    """Line -> file and line, where several files were read as one; empty for an upload."""


@router.get("/files/{file_id}/report", response_model=FileReport, responses=_PAGE)
def report_file(
    call: Reading, file_id: str, format: Annotated[Literal["json", "html"], Query()] = "json"
) -> FileReport | Response:
    """Everything the data doctor says about a file, before any job is started."""
    diagnosis = _diagnose(call, file_id)
    if format == "html":
        return html_page(page_of(diagnosis))
    return FileReport(**diagnosis.to_dict())


def _diagnose(call: Call, file_id: str) -> Diagnosis:
    record = call.store.files.get(call.tenant, file_id)
    if record.bytes > _MAX_REPORT_BYTES:
        raise InvalidRequest(
            f"The file has {record.bytes:,} bytes; up to {_MAX_REPORT_BYTES:,} are checked here.",
            param="file_id",
            code="file_too_large",
            remedy="Check it where it is with `tailor data check FILE`; a job checks it in any case.",
        )
    options = Options(tokens=_token_count(call))
    with call.store.files.open(call.tenant, file_id) as stream:
        return diagnose_jsonl(stream, name=record.filename, options=options)


def _token_count(call: Call) -> TokenCount:
    """Tokens of the default base; an estimate where there is none yet."""
    base = call.store.bases.default()
    if base is None:
        return TokenCount()
    return TokenCount(name=base.name, count=token_counter(Path(base.directory)), context=base.context_length)
