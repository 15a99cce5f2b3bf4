"""Learning from a teacher's distribution at every token of an answer: given ones, or the student's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from tailor.models import LoadedModel, Template
from tailor.training.alignment import Aligner, Counterpart
from tailor.training.answered import Answered
from tailor.training.batches import (
    Tokenized,
    TokenizedExample,
    Trainable,
    pack,
    tokenized_messages,
)
from tailor.training.divergence import divergence
from tailor.training.imitation import Imitation
from tailor.training.objective import Figures, Part
from tailor.training.output import hidden_of_targets, is_packed
from tailor.training.selfcheck import packing_is_exact, switch_to_plain

if TYPE_CHECKING:
    from tailor.data import Lesson

_LEAST_ANSWER_TOKENS = 8
_CHECK_SIZE = 2


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TokenizedLesson(Answered):
    """A prompt as the student sees it, with the answer to it if there is one.

    Where there is none, `example` is the prompt alone, all of it with weight.
    """

    prompt_ids: tuple[int, ...]
    """Ends where the answer begins."""

    has_answer: bool

    source: Lesson
    """What was rendered."""

    counterpart: Counterpart | None = None
    """How a teacher with other tokens reads the answer."""


def tokenize_lessons(
    lessons: Iterable[Lesson], template: Template, *, max_tokens: int, aligner: Aligner | None = None
) -> Tokenized[TokenizedLesson]:
    """Prompts exactly as they are served, and answers as training sees them; longer ones lose their end.

    With an aligner only what the teacher reads as well is learned; lessons of which it reads nothing are
    left out.
    """
    kept: list[TokenizedLesson] = []
    skipped, truncated, unread = [], [], []
    for lesson in lessons:
        made, is_truncated = _tokenized(lesson, template, max_tokens=max_tokens)
        if is_truncated:
            truncated.append(lesson.line)
        if not made.total_weight or len(made.prompt_ids) + _LEAST_ANSWER_TOKENS > max_tokens:
            skipped.append(lesson.line)
            continue
        read = made if aligner is None else read_along(made, aligner)
        if read is None:
            unread.append(lesson.line)
        else:
            kept.append(read)
    return Tokenized(
        examples=tuple(kept),
        skipped_lines=tuple(skipped),
        truncated_lines=tuple(truncated),
        unread_lines=tuple(unread),
        have_answers=all(lesson.has_answer for lesson in kept),
    )


def _tokenized(lesson: Lesson, template: Template, *, max_tokens: int) -> tuple[TokenizedLesson, bool]:
    """A lesson, and whether it has lost its end."""
    prompt = template.render(lesson.messages, lesson.tools, add_generation_prompt=True).ids
    has_answer = lesson.answer is not None
    if has_answer:
        source = lesson.as_example()
        made = tokenized_messages(source.messages, source, template, max_tokens=max_tokens)
        example, is_truncated = made.example, made.is_truncated
    else:
        example, is_truncated = _alone(lesson, prompt), False
    tokenized = TokenizedLesson(
        line=lesson.line,
        fingerprint=lesson.fingerprint,
        prompt_ids=tuple(prompt),
        example=example,
        has_answer=has_answer,
        source=lesson,
    )
    return tokenized, is_truncated


def read_along(lesson: TokenizedLesson, aligner: Aligner) -> TokenizedLesson | None:
    """The lesson with what its teacher reads of it; None where that is nothing."""
    if not lesson.has_answer:
        return lesson if aligner.reads(lesson.source) else None
    found = aligner.align(lesson.source, lesson.example)
    return None if found is None else replace(lesson, example=found[0], counterpart=found[1])


def written_along(lesson: TokenizedLesson, own: TokenizedExample, aligner: Aligner) -> TokenizedLesson | None:
    """The lesson with an answer that the student has written; None where its teacher reads nothing of it."""
    found = aligner.align_own(lesson.source, own)
    return None if found is None else replace(lesson, example=found[0], counterpart=found[1])


def _alone(lesson: Lesson, prompt: Sequence[int]) -> TokenizedExample:
    weights = torch.ones(len(prompt))
    weights[0] = 0.0
    return TokenizedExample(
        line=lesson.line, fingerprint=lesson.fingerprint, ids=torch.tensor(prompt), weights=weights
    )


def same_tokens(student: Template, teacher: Template) -> bool:
    """Whether the same ids mean the same tokens to both."""
    return bool(student.tokenizer.get_vocab() == teacher.tokenizer.get_vocab())


class DistillationObjective:
    """Weighted divergence from a teacher over the answers' tokens."""

    def __init__(self, imitation: Imitation, teacher: LoadedModel) -> None:
        self._asked, self._teacher = imitation, teacher

    def prepare(
        self,
        loaded: LoadedModel,
        items: Sequence[Trainable],
        *,
        max_tokens: int,
        tick: Callable[[], None],
    ) -> None:
        """See whether the teacher, too, computes packed what it computes plain."""
        sequences = [each for item in items[:_CHECK_SIZE] for each in item.sequences]
        if sequences and not packing_is_exact(self._teacher, sequences):
            switch_to_plain(self._teacher)

    def part(self, loaded: LoadedModel, items: Sequence[Trainable]) -> Part:
        """Summed divergence of some answers, in nats; gradients flow if autograd is on."""
        # A model that is not packed knows no shared beginnings.
        share = is_packed(loaded) and is_packed(self._teacher)
        batch = pack([each for item in items for each in item.sequences], share=share)
        with torch.no_grad():
            teacher_NE = hidden_of_targets(self._teacher, batch)
        found = divergence(
            loaded,
            self._teacher,
            hidden_of_targets(loaded, batch),
            teacher_NE,
            batch.weights_N,
            beta=self._asked.beta,
            temperature=self._asked.temperature,
        )
        return Part(
            total=found.total,
            figures=Figures(
                loss_sum=float(found.total.detach()),
                num_right=int(found.agree_N.sum()),
                num_targets=len(found.agree_N),
            ),
        )
