"""Runs of evals on the wire (contract section 1.6): where rows come from, and who answers them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    StringConstraints,
    Tag,
)

from tailor.protocol.evals import MAX_ITEMS, EvalName, Part, by_type
from tailor.protocol.fine_tuning import Metadata
from tailor.protocol.graders import (
    Content,
    Name,
)
from tailor.protocol.templates import parse_template


def _check_reference(text: str) -> str:
    parse_template(f"{{{{ {text} }}}}")
    return text


class Row(Part):
    """One row of data, with an answer to it where there is one already."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContentSource(Part):
    """Rows in the request itself."""

    type: Literal["file_content"]
    content: Annotated[list[Row], Field(min_length=1, max_length=MAX_ITEMS)]


class FileIdSource(Part):
    """An uploaded JSONL file of such rows."""

    type: Literal["file_id"]
    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class StoredCompletionsSource(Part):
    """Chat completions that were kept with `store: true`, newest first."""

    type: Literal["stored_completions"]
    metadata: Metadata | None = None
    model: EvalName | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ITEMS, strict=True)] | None = None
    created_after: Annotated[int, Field(ge=0, lt=2**63, strict=True)] | None = None
    created_before: Annotated[int, Field(ge=0, lt=2**63, strict=True)] | None = None


class StoredResponsesSource(Part):
    """Stored responses."""

    type: Literal["responses"]


Source = Annotated[
    Annotated[FileContentSource, Tag("file_content")]
    | Annotated[FileIdSource, Tag("file_id")]
    | Annotated[StoredCompletionsSource, Tag("stored_completions")]
    | Annotated[StoredResponsesSource, Tag("responses")],
    by_type("file_content", "file_id", "stored_completions"),
]


class PromptMessage(Part):
    """A message of the prompt, with templates in it."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    type: Literal["message"] | None = None


class TemplateMessages(Part):
    """The prompt of every row."""

    type: Literal["template"]
    template: Annotated[list[PromptMessage], Field(min_length=1, max_length=256)]


class ItemReference(Part):
    """Where in a row its whole conversation lies."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, StringConstraints(max_length=1024), AfterValidator(_check_reference)]


InputMessages = Annotated[
    Annotated[TemplateMessages, Tag("template")] | Annotated[ItemReference, Tag("item_reference")],
    by_type("template", "item_reference"),
]


class TextOptions(Part):
    """`text` of the responses API."""

    format: dict[str, Any] | None = None


class SamplingParams(Part):
    """How answers are drawn; both the chat and the responses spelling of each thing."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, lt=2**31, strict=True)] | None = Field(
        default=None,
        validation_alias=AliasChoices(
            "max_completion_tokens", "max_completions_tokens", "max_output_tokens", "max_tokens"
        ),
    )
    """Notebooks write `max_completions_tokens`; every spelling is taken."""
    response_format: dict[str, Any] | None = None
    text: TextOptions | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    reasoning_effort: Annotated[str, StringConstraints(max_length=32)] | None = None


class JsonlDataSource(Part):
    """Answers that are in the rows already."""

    type: Literal["jsonl"]
    source: Source


class _Sampled(Part):
    source: Source
    model: Name | None = None
    """Asked for an answer to every row; without one the stored answers are graded."""
    input_messages: InputMessages | None = None
    sampling_params: SamplingParams | None = None


class CompletionsDataSource(_Sampled):
    """Answers that a model gives during the run, asked as chat completions."""

    type: Literal["completions"]


class ResponsesDataSource(_Sampled):
    """The same, in the words of the responses API."""

    type: Literal["responses"]


DataSource = Annotated[
    Annotated[JsonlDataSource, Tag("jsonl")]
    | Annotated[CompletionsDataSource, Tag("completions")]
    | Annotated[ResponsesDataSource, Tag("responses")],
    by_type("jsonl", "completions", "responses"),
]


class RunRequest(Part):
    """Body of `POST /evals/{id}/runs`."""

    data_source: DataSource
    name: EvalName | None = None
    metadata: Metadata | None = None
