"""Embeddings on the wire (contract section 1.11)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_INPUTS = 2_048
"""Texts of one request."""

_Text = Annotated[str, StringConstraints(min_length=1, max_length=2_000_000)]
_Ids = Annotated[list[Annotated[int, Field(ge=0, lt=2**31, strict=True)]], Field(min_length=1)]


class EmbeddingRequest(BaseModel):
    """Body of `POST /embeddings`; `user` is ignored."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    input: (
        _Text
        | Annotated[list[_Text], Field(min_length=1, max_length=MAX_INPUTS)]
        | _Ids
        | Annotated[list[_Ids], Field(min_length=1, max_length=MAX_INPUTS)]
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1, strict=True)] | None = None

    @property
    def inputs(self) -> list[str | list[int]]:
        """What is to be embedded, each a text or token ids."""
        whole: Any = self.input
        return [whole] if isinstance(whole, str) or isinstance(whole[0], int) else list(whole)


class EmbeddingObject(BaseModel):
    """The vector of one input."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str
    """Floats; or, if so asked, little-endian float32 in base64."""


class EmbeddingUsage(BaseModel):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingList(BaseModel):
    """Answer of `POST /embeddings`, in the order of the inputs."""

    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: EmbeddingUsage
