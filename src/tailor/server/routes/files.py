"""Files (contract 1.1)."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Query
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from tailor.data import DataReport, check_syntax
from tailor.errors import InvalidRequest
from tailor.protocol import UPLOAD_PURPOSES, CursorPage, FileDeleted, FileObject
from tailor.server.calls import Call, Reading, Writing
from tailor.server.requests import Cursor, Order, new_router
from tailor.server.translate import file_object, page_object
from tailor.server.uploads import receive_upload
from tailor.store import Receiver

router = new_router("files", "/v1/files")

_FORM = {
    "type": "object",
    "required": ["purpose", "file"],
    "properties": {
        "purpose": {"type": "string", "enum": list(UPLOAD_PURPOSES)},
        "file": {"type": "string", "contentMediaType": "application/octet-stream", "minLength": 1},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2592000},
    },
}
_UPLOAD: dict[str, Any] = {
    "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}
}
_BYTES = {"schema": {"type": "string", "contentMediaType": "application/octet-stream"}}
_CONTENT: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file's bytes.",
        "content": {"application/octet-stream": _BYTES, "text/csv": _BYTES},
    }
}


@router.post("", openapi_extra=_UPLOAD)
async def upload_file(call: Writing) -> FileObject:
    """Upload a file; a `fine-tune` file must be JSONL, and every bad line is named if it is not."""
    receiver = await run_in_threadpool(call.store.files.receive, call.tenant)
    try:
        return await _take_in(call, receiver)
    finally:
        receiver.abort()


@router.get("")
def list_files(
    call: Reading,
    cursor: Cursor,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    order: Order = None,
) -> CursorPage[FileObject]:
    """Files, newest first."""
    page = call.store.files.list(
        call.tenant, purpose=purpose, after=cursor.after, limit=cursor.limit, order=order or "desc"
    )
    return page_object(page, file_object)


@router.get("/{file_id}")
def retrieve_file(call: Reading, file_id: str) -> FileObject:
    """One file."""
    return file_object(call.store.files.get(call.tenant, file_id))


@router.get("/{file_id}/content", response_class=FileResponse, responses=_CONTENT)
def file_content(call: Reading, file_id: str) -> FileResponse:
    """The bytes of a file; result files are plain CSV."""
    record = call.store.files.get(call.tenant, file_id)
    return FileResponse(
        call.store.files.path(call.tenant, file_id),
        media_type="text/csv" if record.purpose == "fine-tune-results" else "application/octet-stream",
        headers={"content-disposition": f"attachment; filename*=utf-8''{quote(record.filename, safe='')}"},
    )


@router.delete("/{file_id}")
def delete_file(call: Writing, file_id: str) -> FileDeleted:
    """Delete a file; jobs that use it keep its bytes until they end."""
    call.store.files.delete(call.tenant, file_id)
    return FileDeleted(id=file_id)


async def _take_in(call: Call, receiver: Receiver) -> FileObject:
    content_type = call.request.headers.get("content-type", "")
    form = await receive_upload(call.request.stream(), content_type, receiver)
    if form.purpose == "fine-tune":
        report = await run_in_threadpool(_check, receiver, form.filename)
        if not report.ok:
            raise _refusal(report)
    record = await run_in_threadpool(
        receiver.finish, form.filename, form.purpose, form.expires_after_seconds, call.is_retry
    )
    return file_object(record)


def _check(receiver: Receiver, filename: str) -> DataReport:
    with receiver.open() as stream:
        return check_syntax(stream, name=filename)


def _refusal(report: DataReport) -> InvalidRequest:
    """The 400 that names every bad line, in words and as data."""
    error = report.upload_refusal()
    found = report.to_dict()
    error.details |= {"problems": found["problems"], "num_problems": report.num_blocking}
    return error
