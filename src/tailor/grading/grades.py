"""What grading gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tailor.grading.judging import Question, Reply
from tailor.protocol.graders import GraderErrors, GraderMetadata, GraderRun

NO_ERRORS: Final = GraderErrors()


@dataclass(frozen=True, kw_only=True, slots=True)
class Grade:
    """One answer, graded."""

    name: str
    type: str
    score: float
    """0 where the grader failed; see `errors`."""

    passed: bool | None
    """None where nothing says what passing means: no threshold, no labels. A failed grader passes nobody."""

    errors: GraderErrors = NO_ERRORS
    """What kept it from a score, by OpenAI's flags."""

    problems: tuple[str, ...] = ()
    """A sentence for each error."""

    seconds: float = 0.0
    """How long it took."""

    parts: Mapping[str, Grade] = field(default_factory=dict)
    """The graders of a multi grader, under their names in the formula."""

    question: Question | None = None
    """What the grading model was asked."""

    reply: Reply | None = None
    """What it said."""

    @property
    def usage(self) -> dict[str, dict[str, int]]:
        """Tokens by grading model, the parts' included."""
        total: dict[str, dict[str, int]] = {}
        for reply in self._replies():
            counts = total.setdefault(
                reply.model, {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
            )
            counts["prompt_tokens"] += reply.prompt_tokens
            counts["completion_tokens"] += reply.completion_tokens
            counts["total_tokens"] += reply.prompt_tokens + reply.completion_tokens
        return total

    def to_wire(self) -> GraderRun:
        """As `POST /fine_tuning/alpha/graders/run` answers."""
        usage = self.usage
        parts = {name: part.score for name, part in self.parts.items()}
        extra: dict[str, Any] = {"passed": self.passed, "problems": list(self.problems)}
        return GraderRun(
            reward=self.score,
            sub_rewards=parts,
            model_grader_token_usage_per_model=usage,
            metadata=GraderMetadata(
                name=self.name,
                type=self.type,
                errors=self.errors,
                execution_time=round(self.seconds, 6),
                scores=parts or {self.name: self.score},
                token_usage=sum(counts["total_tokens"] for counts in usage.values()) if usage else None,
                sampled_model_name=next(iter(usage)) if len(usage) == 1 else None,
                tailor=extra,
            ),
        )

    def _replies(self) -> list[Reply]:
        own = [self.reply] if self.reply else []
        return own + [reply for part in self.parts.values() for reply in part._replies()]


def merged(errors: list[GraderErrors]) -> GraderErrors:
    """All flags that any of them has, with the first text of each kind."""
    found: dict[str, Any] = {}
    for one in errors:
        for name, value in one:
            if value and not found.get(name):
                found[name] = value
    return GraderErrors(**found)
