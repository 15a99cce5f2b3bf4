"""The teacher of a distillation job: who it is, what it can teach by, and its answers to prompts."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tailor.data import Dataset, Lesson, canonical_json
from tailor.errors import InvalidRequest, NotFound
from tailor.grading import Answered, Grade, sample_of
from tailor.jobs.asking import Asking, Complete
from tailor.jobs.attempt import Attempt, Refused
from tailor.jobs.graders import Grading
from tailor.models import BaseFacts, LoadedModel, Template, inspect, load_base, load_template, load_version
from tailor.protocol import ChatCompletion, ChatRequest, DistillationMethod, VersionName
from tailor.store import Base, Store, Version
from tailor.training import Aligner, Recipe, Wanted, same_tokens

Signal = Literal["answers", "logits"]

_PASSED = 0.5
_ONLY_LOGITS = ("beta", "temperature", "own_share", "sampling_temperature")
_LINES_IN_MESSAGE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A model of this server whose logits can be had."""

    digest: str
    base: Path
    """Directory of its base."""
    version: Path | None
    """Directory of its own weights; None if it is a base."""
    template: Template
    facts: BaseFacts
    """Of its directory of weights, or of its base's."""

    def load(self, *, dtype: str) -> LoadedModel:
        """Its weights, in memory beside the student's, not to be trained."""
        if self.version is None:
            loaded = load_base(self.base, dtype=dtype)
        else:
            loaded = load_version(self.version, self.base, dtype=dtype)
        loaded.model.requires_grad_(False)
        return loaded


class School:
    """What one attempt learns by, and from whom."""

    def __init__(self, attempt: Attempt, asking: Asking, wanted: Wanted, student: Template) -> None:
        """Raises Refused where the teacher cannot teach as asked."""
        self._attempt, self._asking, self._wanted = attempt, asking, wanted
        self._method = DistillationMethod.model_validate(attempt.job.method["distillation"])
        self._grading = Grading(self._method.grader, asking) if self._method.grader else None
        self.teacher = local_teacher(attempt.store, attempt.job.tenant, self._method.teacher)
        is_same = self.teacher is not None and same_tokens(student, self.teacher.template)
        self.signal: Signal = self._signal(is_same=is_same)
        self.aligner: Aligner | None = None
        """Where logits are learned from a teacher with other tokens."""
        if self.signal == "logits" and self.teacher is not None and not is_same:
            self.aligner = self._aligner(self.teacher, student)

    @property
    def digest(self) -> str | None:
        """Of the weights whose logits are learned from; None where answers are all there is."""
        return self.teacher.digest if self.signal == "logits" and self.teacher else None

    @property
    def logits_of(self) -> BaseFacts | None:
        """The model whose logits are learned from."""
        return self.teacher.facts if self.signal == "logits" and self.teacher else None

    def teach(self, dataset: Dataset[Lesson], *, is_held_out: bool) -> Dataset[Lesson]:
        """The same lessons with an answer to each, where they need one; without those whose answer failed.

        A student that learns from its own answers alone needs none, but for those that prove something.

        Raises:
            Refused: no answer is good enough.
        """
        if not is_held_out and self.signal == "logits" and self._own_share(dataset) == 1.0:
            return dataset
        pulse = self._attempt.pulse
        asked = [lesson for lesson in dataset.examples if lesson.answer is None]
        stored = self._stored() if asked else {}

        def work(complete: Complete) -> Coroutine[Any, Any, list[ChatCompletion | None]]:
            async def all_answers() -> list[ChatCompletion | None]:
                return await asyncio.gather(*(self._answer(each, stored, complete) for each in asked))

            return all_answers()

        answers = self._asking.talk(work, pulse.stop_if_asked) if asked else []
        made = dict(zip((lesson.line for lesson in asked), answers, strict=True))
        kept: list[Lesson] = []
        cut_off: list[int] = []
        for lesson in dataset.examples:
            if lesson.line not in made:
                kept.append(lesson)
            elif (answer := _message_of(made[lesson.line])) is not None:
                kept.append(lesson.answered(answer))
            else:
                cut_off.append(lesson.line)
        good = self._graded(kept)
        rejected = sorted({lesson.line for lesson in kept} - {lesson.line for lesson in good})
        part = "held-out" if is_held_out else "training"
        self._tell(part, len(asked), cut_off, rejected)
        if not good and dataset.examples and not is_held_out:
            raise Refused(
                f"None of {len(dataset.examples)} answers of {self._method.teacher} can be learned from.",
                code="no_good_answers",
                param="method.distillation",
                remedy="Look at the grader, or at tailor.distillation.max_tokens.",
            )
        return replace(dataset, examples=tuple(good))

    def load(self, recipe: Recipe) -> LoadedModel | None:
        """The teacher's weights, where its logits are wanted; raises Refused if they are others by now."""
        if recipe.imitation is None:
            return None
        if self.teacher is None or self.teacher.digest != recipe.imitation.teacher:
            raise Refused(
                f"The teacher {self._method.teacher} is another one than when the job began.",
                code="teacher_changed",
                param="method.distillation.teacher",
                remedy="Start the job anew.",
            )
        return self.teacher.load(dtype=recipe.dtype)

    def _own_share(self, dataset: Dataset[Lesson]) -> float:
        has_answers = all(lesson.answer is not None for lesson in dataset.examples)
        return float(self._wanted.imitation.get("own_share", 0.0 if has_answers else 1.0))

    def _signal(self, *, is_same: bool) -> Signal:
        given, name = self._wanted.signal, self._method.teacher
        if given == "logits" and self.teacher is None:
            raise Refused(
                f"{name} is not a model of this server, so its logits are not to be had.",
                code="no_logits",
                param="tailor.distillation.signal",
                remedy='Learn from its answers: "signal": "answers".',
            )
        signal = signal_of(self._wanted, is_same=is_same)
        foreign = [key for key in _ONLY_LOGITS if key in self._wanted.imitation]
        if signal == "answers" and foreign:
            raise Refused(
                f"{foreign[0]!r} is for learning from a teacher's logits, and from {name} only answers are "
                "learned here.",
                code="unknown_parameter",
                param=f"tailor.distillation.{foreign[0]}",
                remedy="Leave it out, or take a teacher of this server."
                if self.teacher is None
                else 'Leave it out, or ask for "signal": "logits".',
            )
        return signal

    def _aligner(self, teacher: Teacher, student: Template) -> Aligner:
        """What reads the teacher's tokens beside the student's; says that this is an approximation."""
        aligner = Aligner(student, teacher.template, teacher_context=teacher.facts.context_length)
        self._attempt.lease.add_event(
            f"{self._method.teacher} has another tokenizer, so its probabilities are compared approximately: "
            "where both tokenizers divide the text alike, one to one for the text that follows and for "
            f"{aligner.num_common:,} tokens that both have (of {aligner.num_student:,} and "
            f"{aligner.num_teacher:,}), and the rest by size.",
            data={
                "common_tokens": aligner.num_common,
                "student_tokens": aligner.num_student,
                "teacher_tokens": aligner.num_teacher,
            },
            once_key="aligned",
        )
        return aligner

    async def _answer(
        self, lesson: Lesson, stored: dict[str, ChatCompletion], complete: Complete
    ) -> ChatCompletion | None:
        """The teacher's answer; None where it refuses the prompt."""
        messages = [
            {key: value for key, value in message.items() if key != "weight"} for message in lesson.messages
        ]
        known = stored.get(_asked(messages))
        if known is not None and not lesson.tools:
            return known
        most = self._wanted.imitation.get("max_tokens")
        request = ChatRequest.model_validate(
            {"model": self._method.teacher, "messages": messages, "temperature": 0.0}
            | ({"max_completion_tokens": most} if most else {})
            | ({"tools": list(lesson.tools)} if lesson.tools else {})
        )
        try:
            return await complete(request)
        except InvalidRequest:
            return None

    def _stored(self) -> dict[str, ChatCompletion]:
        """What the teacher has said before and was kept, by what it was asked."""
        found: dict[str, ChatCompletion] = {}
        after: str | None = None
        while True:
            page = self._attempt.store.completions.list(
                self._attempt.job.tenant, model=self._method.teacher, after=after, limit=100
            )
            for kept in page.items:
                found[_asked(kept.messages)] = ChatCompletion.model_validate(kept.answer)
            if not page.has_more:
                return found
            after = page.items[-1].id

    def _graded(self, lessons: Sequence[Lesson]) -> list[Lesson]:
        """Those whose answer is good enough."""
        if self._grading is None or not lessons:
            return list(lessons)
        answers = [
            Answered(item=lesson.item, sample=sample_of(str((lesson.answer or {}).get("content") or "")))
            for lesson in lessons
        ]
        grades = self._grading(answers, self._attempt.pulse.stop_if_asked)
        return [lesson for lesson, grade in zip(lessons, grades, strict=True) if self._is_good(grade)]

    def _is_good(self, grade: Grade) -> bool:
        threshold = self._method.pass_threshold
        if threshold is None and grade.passed is not None:
            return grade.passed
        return not grade.errors.has_any and grade.score >= (_PASSED if threshold is None else threshold)

    def _tell(self, part: str, num_asked: int, cut_off: Sequence[int], rejected: Sequence[int]) -> None:
        add_event, teacher = self._attempt.lease.add_event, self._method.teacher
        if num_asked:
            add_event(f"{teacher} answered {num_asked} {part} prompts", once_key=f"taught:{part}")
        for lines, what in ((cut_off, "were not whole"), (rejected, "did not pass the grader")):
            if lines:
                listed = ", ".join(map(str, lines[:_LINES_IN_MESSAGE]))
                more = f" and {len(lines) - _LINES_IN_MESSAGE} more" if len(lines) > _LINES_IN_MESSAGE else ""
                add_event(
                    f"{len(lines)} {part} answers {what} and are left out: lines {listed}{more}.",
                    level="warn",
                    data={"lines": list(lines[:1000])},
                    once_key=f"{what}:{part}",
                )


def signal_of(wanted: Wanted, *, is_same: bool) -> Signal:
    """What is learned from: as asked, else the logits of a teacher of this server with the same tokens."""
    return wanted.signal or ("logits" if is_same else "answers")  # type: ignore[return-value]


def _asked(messages: Sequence[Mapping[str, Any]]) -> str:
    """Equal for conversations in which the same was said."""
    return canonical_json([[message.get("role"), message.get("content")] for message in messages])


def _message_of(completion: ChatCompletion | None) -> dict[str, Any] | None:
    """An answer as a training message; None unless it is whole."""
    if completion is None or completion.choices[0].finish_reason not in ("stop", "tool_calls"):
        return None
    said = completion.choices[0].message
    calls = [call.model_dump(mode="json") for call in said.tool_calls or ()]
    if not calls and not (said.content or "").strip():
        return None
    return {"role": "assistant", "content": said.content} | ({"tool_calls": calls} if calls else {})


def local_teacher(store: Store, tenant: str, name: str) -> Teacher | None:
    """The model of this server that has the name; None if it is an upstream's.

    Raises:
        Refused: its base has been replaced.
    """
    found: Version | Base | None
    try:
        if VersionName.parse(name):
            found = store.versions.get(tenant, name)
        else:
            found = store.aliases.resolve(tenant, name) or store.bases.resolve(name).base
    except NotFound:
        return None
    if isinstance(found, Base):
        directory = Path(found.directory)
        return Teacher(
            digest=found.digest,
            base=directory,
            version=None,
            template=load_template(directory),
            facts=inspect(directory),
        )
    base = store.bases.get(found.base)
    if base.digest != found.base_digest:
        raise Refused(
            f"The base {base.name} has been replaced since {found.id} was trained on it.",
            code="base_changed",
            param="method.distillation.teacher",
        )
    weights, directory = store.weights.verify(found.digest), Path(base.directory)
    is_full = found.adapter == "full"
    return Teacher(
        digest=found.digest,
        base=directory,
        version=weights,
        template=load_template(weights if is_full else directory),
        facts=inspect(weights if is_full else directory),
    )
