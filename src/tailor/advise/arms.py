"""The ways to do a task that are tried on the same items, and what each came to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from math import sqrt
from statistics import fmean
from typing import Any, Final, Literal

from tailor.grading import Interval, bootstrap, percentile, wilson

Means = Literal[
    "prompt", "structured", "classical", "lookup", "few-shot", "optimised", "retrieval", "tuned", "distilled"
]


@dataclass(frozen=True, kw_only=True, slots=True)
class Traits:
    """What is true of a means whatever it is measured to do."""

    effort: int
    """To set up and keep up: 0 is nothing at all. Cheaper means come first."""

    has_sources: bool = False
    """Whether an answer comes with where it was found."""

    is_trained: bool = False
    """Whether what it knows is fixed by a training, and goes stale with it."""

    what: str
    """For people."""


TRAITS: Final[dict[Means, Traits]] = {
    "prompt": Traits(effort=0, what="the prompt as it is in the file"),
    "structured": Traits(effort=2, what="the prompt, with the form of the answer named in it"),
    "lookup": Traits(effort=1, has_sources=True, what="what was answered to the most similar text; no model"),
    "classical": Traits(effort=1, what="word counts with a linear model, or rules; no language model"),
    "few-shot": Traits(effort=2, what="the prompt, with examples from the file in it"),
    "optimised": Traits(effort=3, what="the best of several prompts and sets of examples"),
    "retrieval": Traits(effort=3, has_sources=True, what="the prompt, with passages that were looked up"),
    "tuned": Traits(effort=5, is_trained=True, what="a model fine-tuned on the file"),
    "distilled": Traits(effort=6, is_trained=True, what="a model fine-tuned on a stronger model's answers"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Arm:
    """One way to do the task."""

    means: Means
    """Of which kind."""

    name: str
    """Among all arms of a study, for people and programs."""

    model: str | None = None
    """The model that answers, or that is tuned; None where none is needed."""

    is_elsewhere: bool = False
    """Whether texts leave the machine for it."""

    variant: str = ""
    """What is looked up (examples, documents), or which examples the prompt has (similar, diverse)."""

    teacher: str | None = None
    """The model whose answers it is trained on."""

    size: int | None = None
    """Examples trained on, where it is trained."""

    @property
    def traits(self) -> Traits:
        """Of its means."""
        return TRAITS[self.means]

    def is_point_of_curve(self, num_train: int) -> bool:
        """Whether it is trained on a part of the examples, only to see what more of them bring."""
        return self.means == "tuned" and self.size is not None and self.size < num_train


@dataclass(frozen=True, kw_only=True, slots=True)
class SetUp:
    """What making an arm took."""

    seconds: float = 0.0
    """On the machine of the endpoint, or on this one."""

    trained_tokens: int = 0
    """By the job's own count, epochs included."""

    teacher_prompt_tokens: int = 0
    teacher_completion_tokens: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """One request as it went out, and what came back: for reading."""

    line: int
    """Of the item, in its file."""

    sent: tuple[dict[str, Any], ...]
    """The messages, word for word; one message of role `input` where no model was asked."""

    answer: str
    expected: str
    score: float
    sources: tuple[str, ...] = ()
    """What was looked up for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmResult:
    """An arm, measured on the held-out items."""

    arm: Arm
    runs: tuple[tuple[float, ...], ...]
    """One score for each held-out item, in their order; one such row for each training with another seed."""

    prompt_tokens: float = 0.0
    """Mean of a request; of all that was sent."""

    completion_tokens: float = 0.0
    """Mean of an answer."""

    latencies_ms: tuple[float, ...] = ()
    """Of items that were asked one by one."""

    seconds_per_request: float = 0.0
    """Of the machine while it answers many at once."""

    num_refused: int = 0
    """Items that the endpoint would not take; they count as wrong."""

    setup: SetUp = SetUp()
    made: str | None = None
    """The model that was tuned for it."""

    shown: tuple[Shown, ...] = ()
    """Some requests, word for word."""

    notes: tuple[str, ...] = ()
    """What to know, for people."""

    @property
    def scores(self) -> tuple[float, ...]:
        """For each item; the mean over runs."""
        if len(self.runs) == 1:
            return self.runs[0]
        return tuple(fmean(column) for column in zip(*self.runs, strict=True))

    @property
    def quality(self) -> float:
        """Mean score."""
        return fmean(self.scores)

    @property
    def interval(self) -> Interval:
        """95 % of the quality: Wilson's for pass and fail, BCa bootstrap for anything else.

        Several runs widen it by what they differ.
        """
        scores = self.scores
        if {*scores} <= {0.0, 1.0}:
            around = wilson(round(sum(scores)), len(scores))
        else:
            found = bootstrap(_mean, scores, resamples=1_999)
            around = Interval(low=found.low, high=found.high)
        if len(self.runs) < 2:
            return around
        means = [fmean(run) for run in self.runs]
        spread = 1.96 * sqrt(
            sum((mean - self.quality) ** 2 for mean in means) / (len(means) - 1) / len(means)
        )
        low = self.quality - sqrt((self.quality - around.low) ** 2 + spread**2)
        high = self.quality + sqrt((around.high - self.quality) ** 2 + spread**2)
        return Interval(low=max(low, 0.0), high=min(high, 1.0))

    def latency_ms(self, percent: float) -> float | None:
        """The latency that so many of 100 stayed within; None: not measured."""
        return percentile(self.latencies_ms, percent) if self.latencies_ms else None

    def only(self, places: Sequence[int]) -> ArmResult:
        """The same on some of the items."""
        return replace(self, runs=tuple(tuple(run[place] for place in places) for run in self.runs))

    def to_dict(self) -> dict[str, Any]:
        """Everything, for programs; `from_dict` reads it back."""
        around = self.interval
        return asdict(self) | {
            "quality": self.quality,
            "interval": asdict(around),
            "latency_p50_ms": self.latency_ms(50),
            "latency_p95_ms": self.latency_ms(95),
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> ArmResult:
        """As it was."""
        shown = tuple(
            Shown(**each | {"sent": tuple(each["sent"]), "sources": tuple(each["sources"])})
            for each in kept["shown"]
        )
        return cls(
            arm=Arm(**kept["arm"]),
            runs=tuple(tuple(run) for run in kept["runs"]),
            latencies_ms=tuple(kept["latencies_ms"]),
            setup=SetUp(**kept["setup"]),
            shown=shown,
            notes=tuple(kept["notes"]),
            **{
                name: kept[name]
                for name in (
                    "prompt_tokens",
                    "completion_tokens",
                    "seconds_per_request",
                    "num_refused",
                    "made",
                )
            },
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """An arm that was not measured."""

    arm: Arm
    reason: str
    """For people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far one arm is."""

    arm: Arm
    done: float
    """Share, 0 to 1."""

    what: str
    """For people: what is being done."""


def _mean(values: Any) -> float:
    return float(values.mean())
