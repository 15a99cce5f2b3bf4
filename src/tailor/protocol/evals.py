"""Evals on the wire (contract section 1.6): what is graded, by what, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
)

from tailor.protocol.chat import Flag
from tailor.protocol.fine_tuning import Metadata
from tailor.protocol.graders import (
    GRADER_TYPES,
    Content,
    LabelModelGrader,
    MultiGrader,
    Name,
    Number,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)
from tailor.protocol.templates import parse_template

MAX_ITEMS: Final = 50_000
"""Rows that one run takes."""

EvalName = Annotated[str, StringConstraints(max_length=256)]
RunStatus = Literal["queued", "in_progress", "completed", "failed", "canceled"]
ItemStatus = Literal["pass", "fail", "error"]
"""`error`: the model could not be asked, or a grader failed; counted as `errored`."""


def _check_reference(text: str) -> str:
    parse_template(f"{{{{ {text} }}}}")
    return text


def _check_threshold(grader: TextSimilarityGrader) -> TextSimilarityGrader:
    if grader.pass_threshold is None:
        raise ValueError("pass_threshold should be given: it says from which score on an answer passes")
    return grader


def _type_of(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


def _by_type(*types: str) -> Discriminator:
    """Chooses by `type`, and says which there are."""
    return Discriminator(
        _type_of,
        custom_error_type="unknown_type",
        custom_error_message=f"should be an object with a type of {', '.join(types)}",
    )


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", populate_by_name=True)


# What an eval is


class CustomConfig(_Part):
    """Rows of the caller's own shape."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: Flag | None = None
    """Whether criteria may also speak of `sample`, what a model answered."""


class LogsConfig(_Part):
    """Stored chat completions with these metadata."""

    type: Literal["logs"]
    metadata: Metadata | None = None


class StoredCompletionsConfig(_Part):
    """The former name of `logs`."""

    type: Literal["stored_completions"]
    metadata: Metadata | None = None


DataSourceConfig = Annotated[
    Annotated[CustomConfig, Tag("custom")]
    | Annotated[LogsConfig, Tag("logs")]
    | Annotated[StoredCompletionsConfig, Tag("stored_completions")],
    _by_type("custom", "logs", "stored_completions"),
]


class MultiCriterion(MultiGrader):
    """A formula over other graders; ours, OpenAI's evals have none."""

    pass_threshold: Number | None = None


Criterion = Annotated[
    Annotated[StringCheckGrader, Tag("string_check")]
    | Annotated[TextSimilarityGrader, AfterValidator(_check_threshold), Tag("text_similarity")]
    | Annotated[ScoreModelGrader, Tag("score_model")]
    | Annotated[LabelModelGrader, Tag("label_model")]
    | Annotated[PythonGrader, Tag("python")]
    | Annotated[MultiCriterion, Tag("multi")],
    _by_type(*GRADER_TYPES),
]
"""A grader that also says what passing means."""


class EvalRequest(_Part):
    """Body of `POST /evals`."""

    data_source_config: DataSourceConfig
    testing_criteria: Annotated[list[Criterion], Field(min_length=1, max_length=32)]
    name: EvalName | None = None
    metadata: Metadata | None = None


class EvalUpdate(_Part):
    """Body of `POST /evals/{id}`; what is not given stays."""

    name: EvalName | None = None
    metadata: Metadata | None = None


# What a run is


class Row(_Part):
    """One row of data, with an answer to it where there is one already."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContentSource(_Part):
    """Rows in the request itself."""

    type: Literal["file_content"]
    content: Annotated[list[Row], Field(min_length=1, max_length=MAX_ITEMS)]


class FileIdSource(_Part):
    """An uploaded JSONL file of such rows."""

    type: Literal["file_id"]
    id: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class StoredCompletionsSource(_Part):
    """Chat completions that were kept with `store: true`, newest first."""

    type: Literal["stored_completions"]
    metadata: Metadata | None = None
    model: EvalName | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_ITEMS, strict=True)] | None = None
    created_after: Annotated[int, Field(ge=0, lt=2**63, strict=True)] | None = None
    created_before: Annotated[int, Field(ge=0, lt=2**63, strict=True)] | None = None


class StoredResponsesSource(_Part):
    """Stored responses."""

    type: Literal["responses"]


Source = Annotated[
    Annotated[FileContentSource, Tag("file_content")]
    | Annotated[FileIdSource, Tag("file_id")]
    | Annotated[StoredCompletionsSource, Tag("stored_completions")]
    | Annotated[StoredResponsesSource, Tag("responses")],
    _by_type("file_content", "file_id", "stored_completions"),
]


class PromptMessage(_Part):
    """A message of the prompt, with templates in it."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    type: Literal["message"] | None = None


class TemplateMessages(_Part):
    """The prompt of every row."""

    type: Literal["template"]
    template: Annotated[list[PromptMessage], Field(min_length=1, max_length=256)]


class ItemReference(_Part):
    """Where in a row its whole conversation lies."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, StringConstraints(max_length=1024), AfterValidator(_check_reference)]


InputMessages = Annotated[
    Annotated[TemplateMessages, Tag("template")] | Annotated[ItemReference, Tag("item_reference")],
    _by_type("template", "item_reference"),
]


class TextOptions(_Part):
    """`text` of the responses API."""

    format: dict[str, Any] | None = None


class SamplingParams(_Part):
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


class JsonlDataSource(_Part):
    """Answers that are in the rows already."""

    type: Literal["jsonl"]
    source: Source


class _Sampled(_Part):
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
    _by_type("jsonl", "completions", "responses"),
]


class RunRequest(_Part):
    """Body of `POST /evals/{id}/runs`."""

    data_source: DataSource
    name: EvalName | None = None
    metadata: Metadata | None = None


# Answers


class EvalObject(BaseModel):
    """An eval."""

    id: str
    object: Literal["eval"] = "eval"
    created_at: int
    name: str
    metadata: dict[str, str]
    data_source_config: dict[str, Any]
    testing_criteria: list[dict[str, Any]]


class EvalDeleted(BaseModel):
    """The answer to a delete."""

    eval_id: str
    object: Literal["eval.deleted"] = "eval.deleted"
    deleted: Literal[True] = True


class EvalError(BaseModel):
    """What went wrong; both empty where nothing did, for OpenAI's types have no null here."""

    code: str = ""
    message: str = ""


class ResultCounts(BaseModel):
    """Rows by what came of them."""

    total: int
    passed: int
    failed: int
    errored: int


class ModelUsage(BaseModel):
    """Tokens of one model in a run, as answerer and as judge."""

    model_name: str
    invocation_count: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int


class CriterionCounts(BaseModel):
    """Rows that passed one criterion."""

    testing_criteria: str
    passed: int
    failed: int


class RunObject(BaseModel):
    """A run of an eval."""

    id: str
    object: Literal["eval.run"] = "eval.run"
    eval_id: str
    created_at: int
    name: str
    model: str
    """Empty where no model was asked."""
    status: RunStatus
    report_url: str
    """A page for people. Whoever has this address may read it, without a key."""
    result_counts: ResultCounts
    per_model_usage: list[ModelUsage]
    per_testing_criteria_results: list[CriterionCounts]
    data_source: dict[str, Any]
    """Of rows in the request, the first hundred; `tailor.num_rows` says how many there are."""
    error: EvalError
    metadata: dict[str, str]
    tailor: dict[str, Any]


class RunDeleted(BaseModel):
    """The answer to a delete."""

    run_id: str
    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: Literal[True] = True


class CriterionResult(BaseModel):
    """What one criterion made of a row."""

    name: str
    type: str
    passed: bool
    score: float
    sample: dict[str, Any] | None = None
    """The grading model's own question and answer."""
    tailor: dict[str, Any]
    """Ours: `errors`, flags as `graders.run` has them, and `problems` in words."""


class OutputUsage(BaseModel):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0


class OutputMessage(BaseModel):
    """A message, text only."""

    role: str
    content: str


class OutputSample(BaseModel):
    """The question and the answer that was graded."""

    model_config = ConfigDict(extra="allow")

    input: list[OutputMessage]
    output: list[dict[str, Any]]
    model: str
    finish_reason: str
    seed: int
    temperature: float
    top_p: float
    max_completion_tokens: int
    """0: as far as the model's context goes."""
    usage: OutputUsage
    error: EvalError


class OutputItem(BaseModel):
    """A row with its answer and its grades."""

    id: str
    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    created_at: int
    eval_id: str
    run_id: str
    datasource_item_id: int
    datasource_item: dict[str, Any]
    status: ItemStatus
    results: list[CriterionResult]
    sample: OutputSample
