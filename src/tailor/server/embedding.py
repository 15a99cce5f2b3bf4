"""Texts to vectors, by our own models or an upstream's (contract section 1.11)."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool

from tailor.errors import InvalidRequest, Unavailable
from tailor.grading import Embed
from tailor.protocol import EmbeddingList, EmbeddingObject, EmbeddingRequest, EmbeddingUsage
from tailor.server.answering import Target
from tailor.server.asking import Asking

if TYPE_CHECKING:
    from tailor.inference.embedding import Embedder, Vectors
    from tailor.models import LoadedModel


_MOST_CHARACTERS = 1_000_000


class Embedding:
    """Takes requests for embeddings in."""

    def __init__(self, asking: Asking, *, model: str | None = None) -> None:
        """`model` is the one that graders compare by."""
        self._asking = asking
        self._model = model
        self._embedder: Embedder | None = None

    def for_graders(self, tenant: str) -> Embed | None:
        """What turns texts into vectors for graders; None where the operator named no model."""
        return None if self._model is None else partial(self._vectors, tenant, self._model)

    async def _vectors(self, tenant: str, model: str, texts: Sequence[str]) -> list[list[float]]:
        # An answer may be empty, which no model takes; it is like no text then.
        asked = [text[:_MOST_CHARACTERS] or " " for text in texts]
        request = EmbeddingRequest(model=model, input=asked, encoding_format="float")
        found = await self.embed(tenant, request)
        data = found["data"] if isinstance(found, dict) else [each.model_dump() for each in found.data]
        try:
            return [[float(value) for value in each["embedding"]] for each in data]
        except (TypeError, ValueError):
            raise Unavailable(f"{model} did not answer with numbers.", code="upstream_nonsense") from None

    async def embed(self, tenant: str, request: EmbeddingRequest) -> EmbeddingList | dict[str, Any]:
        """The vectors of all inputs; an upstream's answer as it gave it but for the model's name.

        Raises:
            NotFound: there is no such model.
            InvalidRequest: an input is too long, or more dimensions are wanted than there are.
        """
        if self._asking.gateway.find(request.model) is not None:
            return await self._asking.gateway.embed(tenant, request)
        return await run_in_threadpool(self._embed, tenant, request)

    def _embed(self, tenant: str, request: EmbeddingRequest) -> EmbeddingList:
        from tailor.inference.embedding import Embedder

        target = self._asking.answering.resolve(tenant, request.model)
        if self._embedder is None:
            self._embedder = Embedder()
        weights = self._asking.answering.store.weights
        version = weights.path(target.version_digest) if target.version_digest else None
        found = self._embedder.embed(target.digest, partial(_load, target, version), request.inputs)
        vectors = _cut(found.vectors, request.dimensions)
        return EmbeddingList(
            data=[
                EmbeddingObject(index=index, embedding=_written(vector, request.encoding_format))
                for index, vector in enumerate(vectors)
            ],
            model=target.name,
            usage=EmbeddingUsage(prompt_tokens=found.num_tokens, total_tokens=found.num_tokens),
        )


def _load(target: Target, version: Path | None) -> LoadedModel:
    from tailor.models import load_base, load_version, native_dtype

    if version is None:
        return load_base(target.directory, dtype=native_dtype())
    return load_version(version, target.directory, dtype=native_dtype())


def _cut(vectors: Vectors, dimensions: int | None) -> Vectors:
    """The first dimensions, made length 1 again."""
    if dimensions is None:
        return vectors
    if dimensions > vectors.shape[1]:
        raise InvalidRequest(
            f"Invalid 'dimensions': the model's vectors have {vectors.shape[1]:,}, not {dimensions:,}.",
            param="dimensions",
            code="invalid_value",
        )
    import numpy as np

    shorter = vectors[:, :dimensions]
    cut: Vectors = shorter / np.maximum(np.linalg.norm(shorter, axis=1, keepdims=True), 1e-12)
    return cut


def _written(vector: Any, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    floats: list[float] = vector.tolist()
    return floats
