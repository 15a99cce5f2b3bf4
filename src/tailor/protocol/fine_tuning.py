"""Fine-tuning jobs on the wire (contract sections 1.3 and 2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tailor.protocol.graders import Grader
from tailor.protocol.hyperparameters import Auto, Hyperparameters
from tailor.protocol.names import SUFFIX_PATTERN
from tailor.protocol.reinforcement import ReinforcementHyperparameters, ReinforcementMethod

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Tag = Annotated[str, StringConstraints(max_length=64)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]


class PreferenceHyperparameters(Hyperparameters):
    """Those of direct preference optimisation."""

    beta: Auto | Annotated[float, Field(gt=0, le=2, allow_inf_nan=False, strict=True)] = "auto"


class PreferenceMethod(BaseModel):
    """`method.dpo`."""

    model_config = ConfigDict(extra="allow")

    hyperparameters: PreferenceHyperparameters | None = None


class SupervisedMethod(BaseModel):
    """`method.supervised`."""

    model_config = ConfigDict(extra="allow")

    hyperparameters: Hyperparameters | None = None


class TextMethod(SupervisedMethod):
    """`method.text`, ours: continued pre-training on plain text."""


class RewardModelMethod(SupervisedMethod):
    """`method.reward_model`, ours: learning to judge, from the same pairs as `dpo`."""


class DistillationMethod(BaseModel):
    """`method.distillation`, ours: learning what another model says, or what it would say."""

    model_config = ConfigDict(extra="allow")

    teacher: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    """Any model that the server can ask."""
    grader: Grader | None = None
    """Answers that do not pass it are not learned."""
    pass_threshold: Annotated[float, Field(allow_inf_nan=False, strict=True)] | None = None
    """Score from which an answer passes; without it what the grader says, else 0.5."""
    hyperparameters: Hyperparameters | None = None


class Method(BaseModel):
    """How to train; only the part named by `type` counts."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, StringConstraints(max_length=64)] = "supervised"
    supervised: SupervisedMethod | None = None
    dpo: PreferenceMethod | None = None
    kto: PreferenceMethod | None = None
    text: TextMethod | None = None
    reward_model: RewardModelMethod | None = None
    distillation: DistillationMethod | None = None
    reinforcement: ReinforcementMethod | None = None

    @property
    def hyperparameters(self) -> Hyperparameters:
        """Those of the part that counts."""
        if self.type in ("dpo", "kto"):
            preference = self.dpo if self.type == "dpo" else self.kto
            return (preference and preference.hyperparameters) or PreferenceHyperparameters()
        if self.type == "reinforcement":
            wanted = self.reinforcement and self.reinforcement.hyperparameters
            return wanted or ReinforcementHyperparameters()
        part: SupervisedMethod | DistillationMethod | None = getattr(self, self.type, None)
        return (part and part.hyperparameters) or Hyperparameters()


class WandbRun(BaseModel):
    """Where metrics would have gone."""

    model_config = ConfigDict(extra="ignore")

    project: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    name: Annotated[str, StringConstraints(max_length=256)] | None = None
    entity: Annotated[str, StringConstraints(max_length=256)] | None = None
    tags: Annotated[list[Tag], Field(max_length=50)] | None = None


class WandbIntegration(BaseModel):
    """An integration that the hosted service offered: echoed, with an event that nothing is exported."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["wandb"]
    wandb: WandbRun


class JobRequest(BaseModel):
    """Body of `POST /fine_tuning/jobs`. Unknown top-level fields are ignored, `tailor` is ours."""

    model_config = ConfigDict(extra="ignore")

    model: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    training_file: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    validation_file: Annotated[str, StringConstraints(max_length=128)] | None = None
    suffix: Annotated[str, StringConstraints(pattern=SUFFIX_PATTERN)] | None = None
    seed: Annotated[int, Field(ge=0, le=2147483647, strict=True)] | None = None
    metadata: Metadata | None = None
    method: Method | None = None
    hyperparameters: Hyperparameters | None = None
    integrations: Annotated[list[WandbIntegration], Field(max_length=5)] | None = None
    tailor: dict[str, Any] | None = None
    """Ours (`extra_body={"tailor": {...}}`): adapter, learning_rate, hold_out ... (docs/training.md)."""


class JobError(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(extra="allow")

    code: str
    message: str
    param: str | None = None


class JobObject(BaseModel):
    """A job, every key always present."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    finished_at: int | None
    model: str
    fine_tuned_model: str | None
    organization_id: str
    status: str
    training_file: str
    validation_file: str | None
    result_files: list[str]
    trained_tokens: int | None
    error: JobError | None
    hyperparameters: dict[str, Any]
    seed: int
    estimated_finish: int | None
    integrations: list[dict[str, Any]]
    method: dict[str, Any]
    metadata: dict[str, str] | None
    user_provided_suffix: str | None
    tailor: dict[str, Any]
    """Ours: phase, queue_position, step, total_steps, pause_reason, base, proof path."""


class EventObject(BaseModel):
    """One line of a job's story."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    message: str
    type: Literal["message", "metrics"]
    data: dict[str, Any]


class CheckpointMetrics(BaseModel):
    """Figures at the checkpoint's step."""

    step: float | None = None
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None
    train_mean_reward: float | None = None
    """Of reinforcement only, as the next one."""
    full_valid_mean_reward: float | None = None


class CheckpointObject(BaseModel):
    """A saved version on the way to the final one; usable at once."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics
