"""Distillation on what the student says itself: the teacher tells it what it would have said there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tailor.training.alignment import Aligner
from tailor.training.batches import Trainable
from tailor.training.distillation import TokenizedLesson, written_along
from tailor.training.imitation import Imitation
from tailor.training.learner import Learner
from tailor.training.rollouts import Asked, Tick, Write, answered, seed_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Imitated:
    """A step's answers, some given and some the student's own."""

    items: Sequence[Trainable]
    figures: Mapping[str, float] = field(default_factory=dict)
    num_updates: int = 1
    note: str | None = None

    def report(self, validated: None, *, seconds_training: float) -> dict[str, Any]:
        """Nothing beside the figures."""
        return {}


class OwnAnswers:
    """Where a step's items come from when the student writes some of its answers itself."""

    validates = False
    """Held-out lessons are looked at as in supervised training."""

    def __init__(
        self,
        *,
        write: Write,
        imitation: Imitation,
        seed: int,
        max_context_tokens: int,
        aligner: Aligner | None = None,
    ) -> None:
        """`aligner` where the teacher has other tokens than the student."""
        self._write, self._asked, self._seed, self._limit = write, imitation, seed, max_context_tokens
        self._aligner = aligner

    def gather(self, learner: Learner, lessons: Sequence[Any], step: int, *, tick: Tick) -> Imitated:
        """The given answers of some lessons, and what the student says now to the others.

        Who is who follows from seed, step and place alone, as does what is drawn.
        """
        items = cast("Sequence[TokenizedLesson]", lessons)
        own = [place for place, lesson in enumerate(items) if self._is_own(lesson, step, place)]
        asked = [
            Asked(
                prompt_ids=items[place].prompt_ids,
                num_answers=1,
                max_tokens=min(self._asked.max_tokens, self._limit - len(items[place].prompt_ids)),
                temperature=self._asked.sampling_temperature,
                seed=seed_of(self._seed, "own", step, place),
            )
            for place in own
        ]
        found: list[Trainable | None] = list(items)
        num_tokens = 0
        for place, group in zip(own, self._write(asked, tick) if asked else (), strict=True):
            lesson, answer = items[place], group[0]
            said = answered(lesson, lesson.prompt_ids, answer)
            found[place] = said if self._aligner is None else written_along(lesson, said, self._aligner)
            num_tokens += len(answer.token_ids)
        figures = {"own_answers_share": len(own) / len(items)}
        if own:
            figures["own_answers_tokens"] = num_tokens / len(own)
        # An answer of which the teacher can read nothing teaches nothing.
        return Imitated(items=[each for each in found if each is not None], figures=figures)

    def is_due(self, step: int, *, is_last: bool) -> bool:
        """Validation is not ours."""
        return False

    def validate(self, *, tick: Tick) -> None:
        """Validation is not ours."""

    def _is_own(self, lesson: TokenizedLesson, step: int, place: int) -> bool:
        drawn = seed_of(self._seed, "whose", step, place) / 2**63
        return not lesson.has_answer or drawn < self._asked.own_share
