"""One answer in the tokens of two tokenizers: the smallest stretches of text that both begin and end at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tailor.errors import InvalidRequest
from tailor.models import Template
from tailor.training.batches import TokenizedExample
from tailor.training.lexicon import Lexicon, Spelled, check_comparable

if TYPE_CHECKING:
    from tailor.data import Lesson

_LEAST_ANSWER_TOKENS = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Spans:
    """K stretches of text as N targets of the student's and M of the teacher's."""

    student_N: Tensor
    """The stretch that each target belongs to, from 0, in order."""

    teacher_M: Tensor

    student_whole_K: Tensor
    """The student's one token for the whole stretch; -1 if it has none."""

    teacher_whole_K: Tensor


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Counterpart:
    """An answer as the teacher reads it, and which of its tokens say what which of the student's say."""

    example: TokenizedExample
    spans: Spans


@dataclass(frozen=True, kw_only=True, slots=True)
class Stretch:
    """Tokens `begin` to `end` of one side's answer, which say what those of the other side say."""

    begin: int
    end: int
    other_begin: int
    other_end: int
    whole: int
    """The one token for all of it; -1 if there is none."""
    other_whole: int


class Aligner:
    """Finds in a teacher's rendering what a student's tokens say."""

    def __init__(self, student: Template, teacher: Template, *, teacher_context: int) -> None:
        """Raises InvalidRequest where the two cannot be compared (`different_tokenizers`)."""
        self._template, self._limit = teacher, teacher_context
        self._student, self._teacher = Lexicon(student), Lexicon(teacher)
        check_comparable(self._student, self._teacher)
        self.num_student, self.num_teacher = len(student.tokenizer), len(teacher.tokenizer)
        keys = (self._student.keys(self.num_student), self._teacher.keys(self.num_teacher))
        self.num_common = len(keys[0].keys() & keys[1].keys())
        """Tokens that both have."""

    def reads(self, lesson: Lesson) -> bool:
        """Whether the teacher can be asked this, with room for an answer."""
        try:
            ids = self._template.render(lesson.messages, lesson.tools, add_generation_prompt=True).ids
        except InvalidRequest:
            return False
        return len(ids) + _LEAST_ANSWER_TOKENS <= self._limit

    def align(self, lesson: Lesson, example: TokenizedExample) -> tuple[TokenizedExample, Counterpart] | None:
        """The student's example with weight where the teacher can be asked, and what the teacher reads.

        Each stretch weighs one. None where the teacher cannot read it, or nothing is said by both alike.
        """
        source = lesson.as_example()
        try:
            rendered = self._template.render(source.messages, source.tools)
        except InvalidRequest:
            return None
        ids, their_ids = example.ids.tolist(), rendered.ids[: self._limit]
        weights, their_weights = torch.zeros(len(ids)), torch.zeros(len(their_ids))
        found: list[Stretch] = []
        answers = [each for each in rendered.answers if each.weight]
        for run, answer in zip(_runs(example.weights), answers, strict=False):
            theirs = their_ids[answer.begin : answer.end]
            for each in common_stretches(self._student, self._teacher, ids[run.start : run.stop], theirs):
                ours = slice(run.start + each.begin, run.start + each.end)
                weights[ours] = 1.0 / (each.end - each.begin)
                their_weights[answer.begin + each.other_begin : answer.begin + each.other_end] = 1.0
                found.append(each)
        if not found:
            return None
        read = _weighted(example, their_ids, their_weights)
        return _weighted(example, ids, weights), Counterpart(example=read, spans=_spans(found))

    def align_own(
        self, lesson: Lesson, example: TokenizedExample
    ) -> tuple[TokenizedExample, Counterpart] | None:
        """The same for an answer that the student has written: the teacher is shown its text."""
        said = self._student.spell(example.ids[example.weights > 0].tolist())
        answer = {"role": "assistant", "content": said.data.decode(errors="replace")}
        return self.align(lesson.answered(answer), example)


def common_stretches(
    student: Lexicon, teacher: Lexicon, ours: Sequence[int], theirs: Sequence[int]
) -> list[Stretch]:
    """The smallest stretches of an answer that begin and end with a token on both sides, in order.

    Only what both say is compared: the whole text of one where the other has it somewhere (a template may
    trim an answer, or put an empty thought before it), else what they begin with. The end of turn is a
    stretch of its own.
    """
    one, other = student.spell(ours), teacher.spell(theirs)
    begin, other_begin, length = _common_text(one.data, other.data)
    firsts, lasts = _borders(one, begin, length)
    other_firsts, other_lasts = _borders(other, other_begin, length)
    common = sorted((firsts.keys() | lasts.keys()) & (other_firsts.keys() | other_lasts.keys()))
    found: list[Stretch] = []
    if common and common[0] in firsts and common[0] in other_firsts:
        at, other_at = firsts[common[0]], other_firsts[common[0]]
        for low, high in pairwise(common):
            data = one.data[begin + low : begin + high]
            found.append(
                Stretch(
                    begin=at,
                    end=lasts[high] + 1,
                    other_begin=other_at,
                    other_end=other_lasts[high] + 1,
                    whole=student.whole(data),
                    other_whole=teacher.whole(data),
                )
            )
            at, other_at = found[-1].end, found[-1].other_end
    is_through = not (one.data[begin + length :] + other.data[other_begin + length :]).strip()
    if one.is_ended and other.is_ended and is_through:
        at, other_at = len(one.ends), len(other.ends)
        found.append(
            Stretch(
                begin=at,
                end=at + 1,
                other_begin=other_at,
                other_end=other_at + 1,
                whole=ours[at],
                other_whole=theirs[other_at],
            )
        )
    return found


def _common_text(one: bytes, other: bytes) -> tuple[int, int, int]:
    """Where in each the text begins that both have, and its length."""
    for core in (one, other, one.strip(), other.strip()):
        if core and core in one and core in other:
            places = [0 if data.startswith(core) else data.rfind(core) for data in (one, other)]
            return places[0], places[1], len(core)
    alike = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return 0, 0, sum(1 for _ in alike)


def _borders(said: Spelled, begin: int, length: int) -> tuple[dict[int, int], dict[int, int]]:
    """The first token that begins, and the last that ends, at each place of a part of the text.

    A tokenizer may put a space of its own before a word, or the text's own into a token that ends later:
    white space that reaches beyond the part does not count.
    """
    firsts: dict[int, int] = {}
    lasts: dict[int, int] = {}
    start = 0
    for index, end in enumerate(said.ends):
        low, high = start - begin, end - begin
        start = end
        if (low < 0 and high <= 0) or (low >= length and high > length):
            continue
        if low < 0 and not said.data[begin + low : begin].strip():
            low = 0
        if high > length and not said.data[begin + length : end].strip():
            high = length
        if 0 <= low <= length:
            firsts.setdefault(low, index)
        if 0 <= high <= length:
            lasts[high] = index
    return firsts, lasts


def _runs(weights: Tensor) -> list[range]:
    """The answers: tokens with weight that stand together."""
    places = weights.nonzero().squeeze(1).tolist()
    runs: list[range] = []
    for place in places:
        if runs and runs[-1].stop == place:
            runs[-1] = range(runs[-1].start, place + 1)
        else:
            runs.append(range(place, place + 1))
    return runs


def _spans(stretches: Sequence[Stretch]) -> Spans:
    counts = torch.tensor([each.end - each.begin for each in stretches])
    other_counts = torch.tensor([each.other_end - each.other_begin for each in stretches])
    numbers = torch.arange(len(stretches))
    return Spans(
        student_N=torch.repeat_interleave(numbers, counts),
        teacher_M=torch.repeat_interleave(numbers, other_counts),
        student_whole_K=torch.tensor([each.whole for each in stretches]),
        teacher_whole_K=torch.tensor([each.other_whole for each in stretches]),
    )


def _weighted(source: TokenizedExample, ids: Sequence[int], weights: Tensor) -> TokenizedExample:
    return TokenizedExample(
        line=source.line, fingerprint=source.fingerprint, ids=torch.tensor(ids), weights=weights
    )
