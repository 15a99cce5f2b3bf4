"""Chat completions on the wire (contract section 1.8)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tailor.protocol.fine_tuning import Metadata

Role = Literal["developer", "system", "user", "assistant", "tool", "function"]
ShortText = Annotated[str, StringConstraints(max_length=256)]
Omitted = Field(exclude_if=lambda value: value is None)
"""Left out of the JSON when there is nothing: code for OpenAI's API asks whether the key is there."""
Flag = Annotated[bool, Field(strict=True)]
Bias = Annotated[float, Field(ge=-100, le=100, allow_inf_nan=False, strict=True)]


class ChatMessage(BaseModel):
    """One message of the conversation, as sent."""

    model_config = ConfigDict(extra="allow")

    role: Role
    content: str | list[dict[str, Any]] | None = None
    name: ShortText | None = None
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_call_id: ShortText | None = None
    function_call: dict[str, Any] | None = None


class StreamOptions(BaseModel):
    """What a stream carries beside the text."""

    model_config = ConfigDict(extra="ignore")

    include_usage: Flag | None = None
    include_obfuscation: Flag | None = None


class ChatRequest(BaseModel):
    """Body of `POST /chat/completions`.

    Fields that only tune OpenAI's own service (service_tier, prediction, prompt_cache_key, ...) are
    ignored; what would change the answer and is not supported is refused by the server with a remedy.
    """

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] | None = None
    n: Annotated[int, Field(ge=1, le=128, strict=True)] | None = None
    stop: ShortText | Annotated[list[ShortText], Field(max_length=4)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    max_tokens: Annotated[int, Field(ge=1, strict=True)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None
    logprobs: Flag | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20, strict=True)] | None = None
    logit_bias: dict[str, Bias] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False, strict=True)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False, strict=True)] | None = None
    stream: Flag | None = None
    stream_options: StreamOptions | None = None
    store: Flag | None = None
    metadata: Metadata | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    functions: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    function_call: str | dict[str, Any] | None = None
    parallel_tool_calls: Flag | None = None
    response_format: dict[str, Any] | None = None
    modalities: list[str] | None = None


class TopLogprob(BaseModel):
    """One of the likeliest tokens at a place."""

    token: str
    logprob: float
    bytes: list[int] | None


class TokenLogprob(TopLogprob):
    """The token that was taken, and its rivals."""

    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(BaseModel):
    """Log-probabilities of a choice; concatenated bytes are exactly its content."""

    content: list[TokenLogprob] | None
    refusal: list[TokenLogprob] | None = None


class FunctionCall(BaseModel):
    """Name and JSON text of a call."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A function that the model wants called."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class AnswerMessage(BaseModel):
    """What the model said."""

    role: Literal["assistant"] = "assistant"
    content: str | None
    refusal: str | None = None
    tool_calls: Annotated[list[ToolCall] | None, Omitted] = None
    function_call: Annotated[FunctionCall | None, Omitted] = None
    """The legacy form, for requests with `functions`."""


FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class Choice(BaseModel):
    """One of the `n` answers."""

    index: int
    message: AnswerMessage
    finish_reason: FinishReason
    logprobs: ChoiceLogprobs | None = None


class Usage(BaseModel):
    """Tokens counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: Annotated[dict[str, Any] | None, Omitted] = None
    """As an upstream gives it: `cached_tokens`."""


class ChatCompletion(BaseModel):
    """The whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage
    system_fingerprint: str | None = None
    service_tier: Literal["default"] | None = None
    metadata: Annotated[dict[str, str] | None, Omitted] = None


class CompletionDeleted(BaseModel):
    """The answer to a delete."""

    id: str
    object: Literal["chat.completion.deleted"] = "chat.completion.deleted"
    deleted: Literal[True] = True


class MetadataUpdate(BaseModel):
    """Body of `POST /chat/completions/{id}`."""

    metadata: Metadata | None


class StoredMessage(BaseModel):
    """A message of a stored completion, as the messages route lists it."""

    model_config = ConfigDict(extra="allow")

    id: str
    role: str
    content: str | None = None
    refusal: str | None = None
    content_parts: list[dict[str, Any]] | None = None
