"""What the training loop tells its caller: figures of a step, ends of epochs, notes; and where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """Where a training run stands; with the weights and optimiser state this is all it takes to go on."""

    step: int = 0
    """Steps done."""

    num_skipped: int = 0
    """Steps left out because loss or gradient was not finite."""

    num_skipped_in_row: int = 0
    """How many of them were the last ones."""

    num_tokens: int = 0
    """Tokens trained on so far."""

    is_packed: bool | None = None
    """Verdict of the self-check; None before it."""

    max_microbatch_tokens: int | None = None
    """Micro-batch in force after running out of memory; None while it is the recipe's."""

    best_step: int | None = None
    """With early stopping: the step whose weights are kept."""

    best_loss: float | None = None
    """Their held-out loss."""

    num_looks_in_vain: int = 0
    """How often the held-out examples were looked at since."""

    is_stopped: bool = False
    """They were looked at in vain often enough: training is over."""

    @property
    def final_step(self) -> int:
        """The step whose weights a run that ends here ends with."""
        return self.step if self.best_step is None else self.best_step

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Progress:
        """What `to_dict` wrote."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class StepMetrics:
    """Figures of one optimiser step; losses in nats per token, accuracies as shares."""

    step: int
    """Counted from 1."""

    total_steps: int
    """Steps of the whole run."""

    epoch: int
    """Counted from 1."""

    train_loss: float
    train_mean_token_accuracy: float
    learning_rate: float

    num_tokens: int
    """Tokens of this step's examples, prompts included."""

    gradient_norm: float
    """Before clipping."""

    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    """What else the objective measures of the step."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """Of reinforcement: what was tried and what it was worth, under OpenAI's names."""
    progress: Progress = field(default_factory=Progress)

    def to_dict(self) -> dict[str, Any]:
        """The `data` of a metrics event: OpenAI's names, only what was measured."""
        names = (
            "step",
            "total_steps",
            "train_loss",
            "train_mean_token_accuracy",
            "valid_loss",
            "valid_mean_token_accuracy",
            "full_valid_loss",
            "full_valid_mean_token_accuracy",
        )
        values = {name: getattr(self, name) for name in names}
        if self.report:  # the share of tries that were the likeliest token says nothing about being right
            del values["train_mean_token_accuracy"]
        more = {f"train_{name}": value for name, value in self.figures.items()}
        return {name: value for name, value in values.items() if value is not None} | more | dict(self.report)

    @property
    def message(self) -> str:
        """The sentence that OpenAI's events carry."""
        if self.report:
            mean = self.report["train_mean_reward"]
            text = f"Step {self.step}/{self.total_steps}, train mean reward={mean:.2f}"
            valid = self.report.get("full_valid_mean_reward")
            return text if valid is None else f"{text}, full validation mean reward={valid:.2f}"
        text = f"Step {self.step}/{self.total_steps}: training loss={self.train_loss:.2f}"
        if self.valid_loss is not None:
            text += f", validation loss={self.valid_loss:.2f}"
        if self.full_valid_loss is not None:
            text += f", full validation loss={self.full_valid_loss:.2f}"
        return text


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochEnd:
    """All examples were seen once more, or the last step is done; comes after that step's StepMetrics."""

    epoch: int
    """Counted from 1."""

    step: int
    progress: Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """Something a user should know."""

    level: Literal["info", "warn"]
    message: str
    step: int


Update = StepMetrics | EpochEnd | Note
