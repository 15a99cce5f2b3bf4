"""Stored chat completions: what was kept because the caller said `store: true` (contract 1.8)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from tailor.protocol import ChatCompletion, CompletionDeleted, CursorPage, MetadataUpdate, StoredMessage
from tailor.server.calls import Reading, Writing
from tailor.server.requests import METADATA_PARAMETER, Cursor, Metadata, Order, new_router
from tailor.server.translate import completion_object, page_object, stored_message

router = new_router("chat", "/v1/chat/completions")


@router.get("", openapi_extra={"parameters": [METADATA_PARAMETER]})
def list_completions(
    call: Reading,
    cursor: Cursor,
    metadata: Metadata,
    model: Annotated[str | None, Query(max_length=256)] = None,
    order: Order = None,
) -> CursorPage[ChatCompletion]:
    """Stored completions, oldest first."""
    page = call.store.completions.list(
        call.tenant,
        model=model,
        metadata=metadata,
        after=cursor.after,
        limit=cursor.limit,
        order=order or "asc",
    )
    return page_object(page, completion_object)


@router.get("/{completion_id}")
def retrieve_completion(call: Reading, completion_id: str) -> ChatCompletion:
    """One stored completion."""
    return completion_object(call.store.completions.get(call.tenant, completion_id))


@router.post("/{completion_id}")
def update_completion(call: Writing, completion_id: str, body: MetadataUpdate) -> ChatCompletion:
    """Replace a stored completion's metadata."""
    return completion_object(
        call.store.completions.update_metadata(call.tenant, completion_id, body.metadata)
    )


@router.delete("/{completion_id}")
def delete_completion(call: Writing, completion_id: str) -> CompletionDeleted:
    """Forget a stored completion."""
    call.store.completions.delete(call.tenant, completion_id)
    return CompletionDeleted(id=completion_id)


@router.get("/{completion_id}/messages")
def list_messages(
    call: Reading, completion_id: str, cursor: Cursor, order: Order = None
) -> CursorPage[StoredMessage]:
    """What was asked in a stored completion."""
    page = call.store.completions.messages(
        call.tenant, completion_id, after=cursor.after, limit=cursor.limit, order=order or "asc"
    )
    return page_object(page, stored_message)
