"""Evals on the wire (contract section 1.6): what is graded, and by what. Runs of them: `eval_runs`."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
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
    LabelModelGrader,
    MultiGrader,
    Number,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)

MAX_ITEMS: Final = 50_000
"""Rows that one run takes."""

EvalName = Annotated[str, StringConstraints(max_length=256)]
RunStatus = Literal["queued", "in_progress", "completed", "failed", "canceled"]
ItemStatus = Literal["pass", "fail", "error"]
"""`error`: the model could not be asked, or a grader failed; counted as `errored`."""


def _check_threshold(grader: TextSimilarityGrader) -> TextSimilarityGrader:
    if grader.pass_threshold is None:
        raise ValueError("pass_threshold should be given: it says from which score on an answer passes")
    return grader


def _type_of(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


def by_type(*types: str) -> Discriminator:
    """Chooses by `type`, and says which there are."""
    return Discriminator(
        _type_of,
        custom_error_type="unknown_type",
        custom_error_message=f"should be an object with a type of {', '.join(types)}",
    )


class Part(BaseModel):
    """What a request has in it; fields that we do not know are left aside."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)


class CustomConfig(Part):
    """Rows of the caller's own shape."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: Flag | None = None
    """Whether criteria may also speak of `sample`, what a model answered."""


class LogsConfig(Part):
    """Stored chat completions with these metadata."""

    type: Literal["logs"]
    metadata: Metadata | None = None


class StoredCompletionsConfig(Part):
    """The former name of `logs`."""

    type: Literal["stored_completions"]
    metadata: Metadata | None = None


DataSourceConfig = Annotated[
    Annotated[CustomConfig, Tag("custom")]
    | Annotated[LogsConfig, Tag("logs")]
    | Annotated[StoredCompletionsConfig, Tag("stored_completions")],
    by_type("custom", "logs", "stored_completions"),
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
    by_type(*GRADER_TYPES),
]
"""A grader that also says what passing means."""


class EvalRequest(Part):
    """Body of `POST /evals`."""

    data_source_config: DataSourceConfig
    testing_criteria: Annotated[list[Criterion], Field(min_length=1, max_length=32)]
    name: EvalName | None = None
    metadata: Metadata | None = None


class EvalUpdate(Part):
    """Body of `POST /evals/{id}`; what is not given stays."""

    name: EvalName | None = None
    metadata: Metadata | None = None
