"""Graders on the wire (contract section 1.5), for `fine_tuning.alpha.graders`, evals and reinforcement."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationInfo,
    field_validator,
)

from tailor.protocol.formulas import FUNCTIONS, parse_formula
from tailor.protocol.templates import parse_template

MAX_SOURCE_BYTES: Final = 256 * 1024
MAX_SUB_GRADERS: Final = 32
GRADER_TYPES: Final = ("string_check", "text_similarity", "score_model", "label_model", "python", "multi")

_REFUSED_PARTS: Final = {"input_image": "pictures", "input_audio": "sound"}


def _check_template(text: str) -> str:
    parse_template(text)
    return text


def _check_content(content: Any) -> Any:
    """Text with templates in it, alone or in parts; pictures and sound cannot be judged here."""
    for part in content if isinstance(content, list) else [content]:
        text = part
        if isinstance(part, dict):
            kind = part.get("type")
            if kind in _REFUSED_PARTS:
                raise ValueError(f"{_REFUSED_PARTS[kind]} cannot be graded here: the models read text only")
            if kind not in ("input_text", "output_text", "text"):
                raise ValueError("a part should be of type input_text or output_text")
            text = part.get("text")
        if not isinstance(text, str):
            raise ValueError("a part should have text")
        parse_template(text)
    return content


def _check_source(source: str) -> str:
    size = len(source.encode("utf-8", "replace"))
    if size > MAX_SOURCE_BYTES:
        raise ValueError(f"the source has {size:,} bytes; {MAX_SOURCE_BYTES:,} are allowed")
    return source


Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
TemplateText = Annotated[str, StringConstraints(max_length=1_000_000), AfterValidator(_check_template)]
Content = Annotated[
    str | dict[str, Any] | Annotated[list[str | dict[str, Any]], Field(min_length=1, max_length=256)],
    AfterValidator(_check_content),
]
Number = Annotated[float, Field(allow_inf_nan=False, strict=True)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=256, strip_whitespace=True)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class StringCheckGrader(_Part):
    """1 if the texts compare as asked, else 0."""

    type: Literal["string_check"]
    name: Name
    input: TemplateText
    reference: TemplateText
    operation: Literal["eq", "ne", "like", "ilike"]
    """`like`: the input contains the reference; `ilike`: upper and lower case alike."""


Metric = Literal[
    "cosine",
    "fuzzy_match",
    "bleu",
    "gleu",
    "meteor",
    "rouge_1",
    "rouge_2",
    "rouge_3",
    "rouge_4",
    "rouge_5",
    "rouge_l",
]


class TextSimilarityGrader(_Part):
    """How alike the texts are, from 0 to 1."""

    type: Literal["text_similarity"]
    name: Name
    input: TemplateText
    reference: TemplateText
    evaluation_metric: Metric
    pass_threshold: Number | None = None
    """Passed from this score on; evals require it."""


class GraderMessage(_Part):
    """A message to the model that grades."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    type: Literal["message"] | None = None


class GraderSampling(_Part):
    """How the grading model's answer is drawn."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    seed: Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, strict=True)] | None = None
    max_completions_tokens: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        default=None, validation_alias=AliasChoices("max_completions_tokens", "max_completion_tokens")
    )
    """OpenAI's spelling; the usual one is taken too."""
    reasoning_effort: Annotated[str, StringConstraints(max_length=32)] | None = None


def _check_reference(text: str) -> str:
    parts = parse_template(text)
    if len(parts) != 1 or isinstance(parts[0], str):
        raise ValueError('a text in place of a message should be a path alone, such as "{{ item.messages }}"')
    return text


MessagesReference = Annotated[str, StringConstraints(max_length=1000), AfterValidator(_check_reference)]
"""Ours: a path in braces in place of a message stands for all messages that it leads to."""

_Said = Annotated[
    Annotated[GraderMessage, Tag("message")] | Annotated[MessagesReference, Tag("reference")],
    Discriminator(lambda value: "reference" if isinstance(value, str) else "message"),
]
"""Told apart first, so that what is wrong with a message is not told as a wrong reference too."""

Conversation = Annotated[list[_Said], Field(min_length=1, max_length=256)]


class ScoreModelGrader(_Part):
    """A number that a model gives."""

    type: Literal["score_model"]
    name: Name
    model: Name
    input: Conversation
    range: Annotated[list[Number], Field(min_length=2, max_length=2)] = [0.0, 1.0]
    """What the number is clipped to."""
    sampling_params: GraderSampling | None = None
    pass_threshold: Number | None = None

    @field_validator("range")
    @classmethod
    def _in_order(cls, value: list[float]) -> list[float]:
        if value[0] >= value[1]:
            raise ValueError("the first number should be less than the second")
        return value


class LabelModelGrader(_Part):
    """A label that a model chooses; 1 if it is a passing one, else 0."""

    type: Literal["label_model"]
    name: Name
    model: Name
    input: Conversation
    labels: Annotated[list[Label], Field(min_length=1, max_length=256)]
    passing_labels: Annotated[list[Label], Field(min_length=1, max_length=256)]
    sampling_params: GraderSampling | None = None

    @field_validator("labels")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        if len({label.casefold() for label in value}) < len(value):
            raise ValueError("labels should differ by more than upper and lower case")
        return value

    @field_validator("passing_labels")
    @classmethod
    def _among_labels(cls, value: list[str], info: ValidationInfo) -> list[str]:
        strange = [label for label in value if label not in info.data.get("labels", value)]
        if strange:
            raise ValueError(f"{', '.join(map(repr, strange[:8]))} should be among the labels")
        return value


class PythonGrader(_Part):
    """What the source's `grade(sample, item)` returns, run in a sandbox."""

    type: Literal["python"]
    name: Name
    source: Annotated[str, StringConstraints(min_length=1), AfterValidator(_check_source)]
    image_tag: Annotated[str, StringConstraints(max_length=64)] | None = None
    """Kept and otherwise ignored: there is one interpreter."""
    pass_threshold: Number | None = None


def _type_of(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else None


def _by_type(*types: str) -> Discriminator:
    """Chooses by `type`, and says which there are."""
    return Discriminator(
        _type_of,
        custom_error_type="grader_type",
        custom_error_message=f"should be a grader with a type of {', '.join(types)}",
    )


_StringCheck = Annotated[StringCheckGrader, Tag("string_check")]
_TextSimilarity = Annotated[TextSimilarityGrader, Tag("text_similarity")]
_ScoreModel = Annotated[ScoreModelGrader, Tag("score_model")]
_LabelModel = Annotated[LabelModelGrader, Tag("label_model")]
_Python = Annotated[PythonGrader, Tag("python")]

SubGrader = Annotated[
    _StringCheck | _TextSimilarity | _ScoreModel | _LabelModel | _Python, _by_type(*GRADER_TYPES[:-1])
]
"""Any grader that can be part of another."""
VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]


def _as_map(graders: Any) -> Any:
    """A list, or one grader alone, as the map that every real example has: names to graders."""
    if isinstance(graders, dict) and isinstance(graders.get("type"), str):
        graders = [graders]
    if not isinstance(graders, list):
        return graders
    names = [grader.get("name") if isinstance(grader, dict) else None for grader in graders]
    if not all(isinstance(name, str) for name in names) or len({*names}) < len(names):
        raise ValueError(
            "graders in a list should have names that differ, for the formula to tell them apart"
        )
    return dict(zip(names, graders, strict=True))


class MultiGrader(_Part):
    """A formula over the scores of other graders."""

    type: Literal["multi"]
    name: Name = "multi"
    graders: Annotated[
        dict[VariableName, SubGrader],
        BeforeValidator(_as_map),
        Field(min_length=1, max_length=MAX_SUB_GRADERS),
    ]
    """Under the names that stand in the formula."""
    calculate_output: Annotated[str, StringConstraints(min_length=1)]
    invalid_grade: Number | None = None
    """The score when a part of it fails; without it a failed part counts as 0."""

    @field_validator("graders")
    @classmethod
    def _no_function_names(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(value.keys() & FUNCTIONS.keys())
        if taken:
            raise ValueError(f"{', '.join(taken)} is the name of a function; call the grader otherwise")
        return value

    @field_validator("calculate_output")
    @classmethod
    def _of_known_names(cls, value: str, info: ValidationInfo) -> str:
        names = parse_formula(value).names
        known = info.data.get("graders")
        strange = sorted(names - known.keys()) if known is not None else []
        if strange:
            raise ValueError(f"{', '.join(strange)} is no grader here; there are {', '.join(known or ())}")
        return value


Grader = Annotated[
    _StringCheck
    | _TextSimilarity
    | _ScoreModel
    | _LabelModel
    | _Python
    | Annotated[MultiGrader, Tag("multi")],
    _by_type(*GRADER_TYPES),
]
"""Any grader."""


class GraderValidateRequest(BaseModel):
    """Body of `POST /fine_tuning/alpha/graders/validate`."""

    model_config = ConfigDict(extra="ignore")

    grader: Grader


class GraderValidated(BaseModel):
    """The grader as it was understood."""

    grader: Grader


class GraderRunRequest(BaseModel):
    """Body of `POST /fine_tuning/alpha/graders/run`."""

    model_config = ConfigDict(extra="ignore")

    grader: Grader
    model_sample: str
    """What a model answered; `sample.output_json` is there too if it is JSON."""
    item: dict[str, Any] | None = None


class GraderErrors(BaseModel):
    """What kept a grader from a score, as OpenAI sorts it."""

    model_config = ConfigDict(frozen=True)

    formula_parse_error: bool = False
    """The formula has no value here, such as a division by zero."""
    sample_parse_error: bool = False
    """A template speaks of `sample.output_json`, and the sample is not JSON."""
    truncated_observation_error: bool = False
    """A template makes more text than is read."""
    unresponsive_reward_error: bool = False
    """The grading model answered nothing."""
    invalid_variable_error: bool = False
    """A template's path leads nowhere."""
    other_error: bool = False
    python_grader_server_error: bool = False
    """The sandbox failed."""
    python_grader_server_error_type: str | None = None
    python_grader_runtime_error: bool = False
    """The source failed, took too long, or returned no number."""
    python_grader_runtime_error_details: str | None = None
    model_grader_server_error: bool = False
    """The grading model could not be asked."""
    model_grader_refusal_error: bool = False
    model_grader_parse_error: bool = False
    """The grading model answered something else than a number or a label."""
    model_grader_server_error_details: str | None = None

    @property
    def has_any(self) -> bool:
        """Whether anything went wrong."""
        return any(value is True for value in dict(self).values())


class GraderMetadata(BaseModel):
    """How the reward came about."""

    name: str
    type: str
    errors: GraderErrors
    execution_time: float
    """Seconds."""
    scores: dict[str, float]
    token_usage: int | None = None
    sampled_model_name: str | None = None
    tailor: dict[str, Any] = {}
    """Ours: `passed`, and `problems` with a sentence for each error."""


class GraderRun(BaseModel):
    """The answer of `POST /fine_tuning/alpha/graders/run`."""

    reward: float
    sub_rewards: dict[str, float]
    model_grader_token_usage_per_model: dict[str, dict[str, int]]
    metadata: GraderMetadata
