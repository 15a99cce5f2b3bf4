"""The examples of a job: read and checked, some held out, all as token ids."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tailor.data import Dataset, Lesson, hold_out, write_jsonl
from tailor.jobs.attempt import Attempt, Refused
from tailor.jobs.options import JobOptions
from tailor.jobs.teaching import School
from tailor.jobs.validate import method_of, read_checked
from tailor.models import Template
from tailor.training import (
    Tokenized,
    tokenize,
    tokenize_lessons,
    tokenize_opinions,
    tokenize_preferences,
    tokenize_prompts,
    tokenize_texts,
)

_LINES_IN_MESSAGE = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOut:
    """The examples that training never sees."""

    dataset: Dataset[Any]
    data: str
    """Where they come from, for people."""
    file: str
    """Id of their file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examples:
    """What is learned from, and what is not."""

    training: Dataset[Any]
    """Without what is held out."""
    held_out: HeldOut | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenizedExamples:
    """The same as token ids."""

    training: Tokenized[Any]
    validation: Tokenized[Any]
    """The held-out examples; empty when there are none."""


TOKENIZERS: Mapping[str, Callable[..., Tokenized[Any]]] = {
    "supervised": tokenize,
    "dpo": tokenize_preferences,
    "reward_model": tokenize_preferences,
    "kto": tokenize_opinions,
    "text": tokenize_texts,
    "reinforcement": tokenize_prompts,
    "distillation": tokenize_lessons,
}


def tokenized(
    attempt: Attempt, examples: Examples, template: Template, school: School | None, *, limit: int
) -> TokenizedExamples:
    """Examples as the model sees them; what is lost on the way is told.

    Raises:
        Refused: nothing is left to learn from.
    """
    as_tokens = TOKENIZERS[method_of(attempt.job)] if school is None else _tokenizer_of(school)
    training = as_tokens(examples.training.examples, template, max_tokens=limit)
    held_out = examples.held_out.dataset.examples if examples.held_out else ()
    validation = as_tokens(held_out, template, max_tokens=limit)
    _report_lost(attempt, training, limit)
    return TokenizedExamples(training=training, validation=validation)


def _tokenizer_of(school: School) -> Callable[..., Tokenized[Any]]:
    """How lessons are read: with the eyes of a teacher that has other tokens, too."""
    return (
        _tokenize_answers if school.signal == "answers" else partial(tokenize_lessons, aligner=school.aligner)
    )


def _tokenize_answers(lessons: Sequence[Lesson], template: Template, *, max_tokens: int) -> Tokenized:
    """Answered lessons as supervised examples."""
    return tokenize([lesson.as_example() for lesson in lessons], template, max_tokens=max_tokens)


def read_examples(attempt: Attempt, options: JobOptions, school: School | None) -> Examples:
    """Training examples, and what is held out: the validation file, else a part of the training file.

    Where there is a school, both come with the teacher's answers.
    """
    job, lease, tick = attempt.job, attempt.lease, attempt.pulse.stop_if_asked
    dataset = read_checked(lease.open_training(), job, "training_file", tick)
    stream = lease.open_validation()
    if stream is not None and job.validation_file is not None:
        validation = read_checked(stream, job, "validation_file", tick)
        source = f"validation file {job.validation_file}"
        if school is not None:
            dataset = school.teach(dataset, is_held_out=False)
            validation = school.teach(validation, is_held_out=True)
        held_out = HeldOut(dataset=validation, data=source, file=job.validation_file)
        return Examples(training=dataset, held_out=held_out)
    share, maximum = options.share_and_maximum(len(dataset))
    training, held = hold_out(dataset, share=share, maximum=maximum, seed=job.seed)
    if school is not None:
        training = school.teach(training, is_held_out=False)
        held = school.teach(held, is_held_out=True)
    if not len(held):
        lease.add_event(
            "No examples are held out, so nothing will be proven about the model. Give a validation file"
            + (", or leave out tailor.hold_out." if options.hold_out == 0 else "."),
            level="warn",
            once_key="hold_out",
        )
        return Examples(training=training, held_out=None)
    record = attempt.store.files.add(
        job.tenant,
        data=write_jsonl(held.examples),
        filename=f"{job.id}-held-out.jsonl",
        purpose="user_data",
        once_key=f"held-out:{job.id}",
    )
    lease.add_event(
        f"Held out {len(held)} of {len(dataset)} examples for validation and proof: {record.id}",
        data={"file": record.id, "num_examples": len(held)},
        once_key="hold_out",
    )
    source = f"held out from {job.training_file}"
    return Examples(training=training, held_out=HeldOut(dataset=held, data=source, file=record.id))


def _report_lost(attempt: Attempt, tokenized: Tokenized[Any], limit: int) -> None:
    """Say which lines lost their end, or could not be used at all."""
    if not tokenized.examples and tokenized.unread_lines:
        raise Refused(
            "Of no example does the teacher, with its own chat template and tokenizer, read the same answer "
            "as the student.",
            code="nothing_aligned",
            param="method.distillation.teacher",
            remedy='Learn from its answers ("signal": "answers"), or take a teacher with a longer context or '
            "a chat template that takes such messages.",
        )
    if not tokenized.examples:
        raise Refused(
            f"No example has an answer within the context of {limit} tokens, so there is nothing to learn.",
            code="invalid_training_file",
            param="training_file",
            remedy="Shorten the prompts, or choose a base with a longer context.",
        )
    for lines, what, key in (
        (tokenized.truncated_lines, f"are longer than {limit} tokens and lost their end", "truncated"),
        (tokenized.skipped_lines, f"have no answer within {limit} tokens and are left out", "skipped"),
        (tokenized.unread_lines, "say nothing that the teacher reads as well and are left out", "unread"),
    ):
        if lines:
            attempt.lease.add_event(
                f"{len(lines)} examples {what}: {_in_words(lines)}.",
                level="warn",
                data={"lines": list(lines[:1000])},
                once_key=key,
            )


def _in_words(lines: Sequence[int]) -> str:
    listed = ", ".join(map(str, lines[:_LINES_IN_MESSAGE]))
    more = f" and {len(lines) - _LINES_IN_MESSAGE} more" if len(lines) > _LINES_IN_MESSAGE else ""
    return f"lines {listed}{more}"
