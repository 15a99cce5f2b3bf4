"""Embeddings (contract 1.11)."""

from __future__ import annotations

from typing import Any

from tailor.protocol import EmbeddingList, EmbeddingRequest
from tailor.server.calls import Writing
from tailor.server.requests import new_router
from tailor.server.streaming import unless_gone

router = new_router("embeddings")


@router.post("/v1/embeddings", response_model=EmbeddingList)
async def create_embeddings(call: Writing, body: EmbeddingRequest) -> Any:
    """Vectors of texts, by a base, a tuned version or a model of an upstream."""
    embedding = call.services.embedding
    return await unless_gone(call.request, call.services.traffic, embedding.embed(call.tenant, body))
