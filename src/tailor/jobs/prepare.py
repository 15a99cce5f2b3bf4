"""Before the first step: data, held-out examples, recipe, model, and the newest good save."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from tailor.data import Dataset, Lesson, hold_out, write_jsonl
from tailor.errors import NotFound
from tailor.jobs.asking import Asking
from tailor.jobs.attempt import Attempt, Refused
from tailor.jobs.graders import Grading, grader_of
from tailor.jobs.options import JobOptions
from tailor.jobs.practice import make_own_answers, make_practice
from tailor.jobs.pulse import BLOCK_PATIENCE_SECONDS
from tailor.jobs.replaying import replayed
from tailor.jobs.room import fitted
from tailor.jobs.teaching import School
from tailor.jobs.validate import method_of, read_checked
from tailor.models import BaseFacts, Template, inspect, load_template, native_dtype
from tailor.store import Base, Corrupt, read_manifest
from tailor.training import (
    Learner,
    OwnAnswers,
    Practice,
    Progress,
    Recipe,
    Tokenized,
    TokenizedExample,
    TokenizedPrompt,
    Wanted,
    load_checkpoint,
    make_deterministic,
    tokenize,
    tokenize_lessons,
    tokenize_opinions,
    tokenize_preferences,
    tokenize_prompts,
    tokenize_texts,
)
from tailor.training.planning import MemoryEstimate

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
class Prepared:
    """Everything that training needs."""

    base: Base
    training: Dataset[Any]
    """Without what is held out."""
    tokenized: Tokenized[Any]
    held_out: HeldOut | None
    validation: Tokenized[Any]
    """The held-out examples; empty when there are none."""
    template: Template
    recipe: Recipe
    options: JobOptions
    memory: MemoryEstimate | None = None
    """What the worker will take at its peak, as foretold; None where it depends on answers to come."""
    grading: Grading | None = None
    """What judges the model's answers; None for other methods than reinforcement."""
    replay: Sequence[TokenizedExample] = ()
    """General examples that are mixed in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    """A model in memory, and where it is in its training."""

    learner: Learner
    progress: Progress
    practice: Practice | OwnAnswers | None = None
    """Where items come from, if the model in training makes them."""


TOKENIZERS: Mapping[str, Callable[..., Tokenized[Any]]] = {
    "supervised": tokenize,
    "dpo": tokenize_preferences,
    "reward_model": tokenize_preferences,
    "kto": tokenize_opinions,
    "text": tokenize_texts,
    "reinforcement": tokenize_prompts,
    "distillation": tokenize_lessons,
}


def prepare(attempt: Attempt, asking: Asking) -> tuple[Prepared, Start]:
    """Read the files, hold examples out, resolve the recipe, load the model and the newest good save.

    Raises:
        Refused: the job cannot be trained as asked.
        InvalidRequest: an option is out of its bounds.
    """
    job, pulse = attempt.job, attempt.pulse
    options = JobOptions.parse(job.options)
    base = _base(attempt)
    directory = Path(base.directory)
    method = method_of(job)
    wanted = Wanted.parse(job.hyperparameters, options.training)
    template = load_template(directory)
    school = School(attempt, asking, wanted, template) if method == "distillation" else None
    training, held_out = _split(attempt, options, school)
    pulse.stop_if_asked()
    facts = _facts(base)
    limit = min(wanted.max_context_tokens or facts.context_length, facts.context_length)
    as_tokens = TOKENIZERS[method] if school is None else _tokenizer_of(school)
    tokenized = as_tokens(training.examples, template, max_tokens=limit)
    validation = as_tokens(held_out.dataset.examples if held_out else (), template, max_tokens=limit)
    _report_lost(attempt, tokenized, limit)
    grader = grader_of(job) if method == "reinforcement" else None
    grading = Grading(grader, asking) if grader is not None else None
    pulse.stop_if_asked()
    replay, fingerprint = replayed(attempt, wanted, template, limit=limit)
    if wanted.patience and not validation.examples:
        raise Refused(
            "To stop early, training must look at held-out examples, and there are none.",
            code="nothing_held_out",
            param="tailor.early_stopping",
            remedy="Give a validation file, or leave out tailor.hold_out.",
        )
    saved = _saved_recipe(attempt)
    recipe = saved or Recipe.auto(
        replace(tokenized.facts, num_replay=len(replay), replay=fingerprint),
        facts,
        wanted,
        seed=job.seed,
        method=method,
        native_dtype=native_dtype(),
        parent=_parent(attempt),
        teacher=school.digest if school else None,
    )
    recipe, memory = fitted(
        attempt,
        facts,
        recipe,
        tokenized.examples,
        may_change=saved is None,
        teacher=school.logits_of if school else None,
    )
    _show(attempt, recipe)
    pulse.enter("preparing", patience_seconds=BLOCK_PATIENCE_SECONDS)
    make_deterministic(attempt.settings.num_threads)
    teacher = school.load(recipe) if school else None
    learner = Learner.open(directory, recipe, parent=_parent(attempt), teacher=teacher)
    learner.measure_reference([*tokenized.examples, *validation.examples], tick=pulse.stop_if_asked)
    progress = _within_memory(attempt, recipe, _restore(attempt, learner, training.fingerprint))
    pulse.stop_if_asked()
    prepared = Prepared(
        base=base,
        training=training,
        tokenized=tokenized,
        held_out=held_out,
        validation=validation,
        template=template,
        recipe=recipe,
        options=options,
        memory=memory,
        grading=grading,
        replay=replay,
    )
    practice: Practice | OwnAnswers | None = None
    if grading is not None:
        practice = make_practice(learner, grading, cast("Sequence[TokenizedPrompt]", validation.examples))
    elif recipe.imitation is not None and recipe.imitation.own_share:
        practice = make_own_answers(learner, school.aligner if school else None)
    return prepared, Start(learner=learner, progress=progress, practice=practice)


def _tokenizer_of(school: School) -> Callable[..., Tokenized[Any]]:
    """How lessons are read: with the eyes of a teacher that has other tokens, too."""
    return (
        _tokenize_answers if school.signal == "answers" else partial(tokenize_lessons, aligner=school.aligner)
    )


def _tokenize_answers(lessons: Sequence[Lesson], template: Template, *, max_tokens: int) -> Tokenized:
    """Answered lessons as supervised examples."""
    return tokenize([lesson.as_example() for lesson in lessons], template, max_tokens=max_tokens)


def _base(attempt: Attempt) -> Base:
    try:
        return attempt.store.bases.get(attempt.job.base)
    except NotFound as error:
        raise Refused(
            f"The base {attempt.job.base} is no longer on this server.",
            code="model_not_available",
            param="model",
            remedy="Choose another model, or ask the operator to add it again.",
        ) from error


def _facts(base: Base) -> BaseFacts:
    facts = inspect(Path(base.directory))
    if facts.digest != base.digest:
        raise Refused(
            f"The files of the base {base.name} have changed since it was added.",
            code="base_changed",
            param="model",
            remedy="Ask the operator to add it again: tailor models add NAME PATH.",
        )
    return facts


def _parent(attempt: Attempt) -> Path | None:
    """The weights of the version to go on from."""
    job = attempt.job
    if job.parent is None:
        return None
    return attempt.store.weights.verify(attempt.store.versions.get(job.tenant, job.parent).digest)


def _split(
    attempt: Attempt, options: JobOptions, school: School | None
) -> tuple[Dataset[Any], HeldOut | None]:
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
        return dataset, HeldOut(dataset=validation, data=source, file=job.validation_file)
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
        return training, None
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
    return training, HeldOut(dataset=held, data=f"held out from {job.training_file}", file=record.id)


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


def _saved_recipe(attempt: Attempt) -> Recipe | None:
    """The recipe that earlier attempts trained with: resolved once, whatever has changed since."""
    for save in attempt.lease.saves():
        try:
            return Recipe.from_dict(read_manifest(attempt.lease.directory / save.directory)["recipe"])
        except Corrupt:
            continue
    return None


def _show(attempt: Attempt, recipe: Recipe) -> None:
    """Put numbers in place of "auto", in both places of the wire."""
    resolved = recipe.wire_hyperparameters()
    method, kind = attempt.job.method, method_of(attempt.job)
    asked = {**(method.get(kind) or {}), "hyperparameters": resolved}
    attempt.lease.resolve(
        resolved, method={**method, "type": kind, kind: asked}, total_steps=recipe.num_steps
    )


def _restore(attempt: Attempt, learner: Learner, fingerprint: str) -> Progress:
    """Bring the learner to the newest save that is whole; from the start if there is none."""
    lease = attempt.lease
    saves = lease.saves()
    for save in saves:
        try:
            progress = load_checkpoint(
                lease.directory / save.directory, learner, dataset_fingerprint=fingerprint
            )
        except (Corrupt, FileNotFoundError):
            lease.add_event(
                f"The saved state at step {save.step} is damaged and is not used.",
                level="warn",
                data={"recovery": True},
            )
            continue
        lease.add_event(f"Going on from the state saved at step {progress.step}", data={"recovery": True})
        return progress
    if saves:
        lease.add_event(
            "No saved state is usable; training starts again.", level="warn", data={"recovery": True}
        )
    return Progress()


def _within_memory(attempt: Attempt, recipe: Recipe, progress: Progress) -> Progress:
    """The same progress, with the smaller micro-batch that is due after running out of memory."""
    limit = attempt.job.max_microbatch_tokens
    if limit is None or limit >= (progress.max_microbatch_tokens or recipe.max_microbatch_tokens):
        return progress
    return replace(progress, max_microbatch_tokens=limit)
