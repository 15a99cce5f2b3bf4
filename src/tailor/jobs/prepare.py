"""Before the first step: data, held-out examples, recipe, model, and the newest good save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from tailor.data import Dataset
from tailor.errors import NotFound
from tailor.jobs.asking import Asking
from tailor.jobs.attempt import Attempt, Refused
from tailor.jobs.graders import Grading, grader_of
from tailor.jobs.options import JobOptions
from tailor.jobs.practice import make_own_answers, make_practice
from tailor.jobs.pulse import BLOCK_PATIENCE_SECONDS
from tailor.jobs.reading import HeldOut, TokenizedExamples, read_examples, tokenized
from tailor.jobs.replaying import replayed
from tailor.jobs.resuming import restored, saved_recipe, within_memory
from tailor.jobs.room import fitted
from tailor.jobs.teaching import School
from tailor.jobs.validate import method_of
from tailor.models import BaseFacts, Template, inspect, load_template, native_dtype
from tailor.store import Base
from tailor.training import (
    DatasetFacts,
    Learner,
    OwnAnswers,
    Practice,
    Progress,
    Recipe,
    Tokenized,
    TokenizedExample,
    TokenizedPrompt,
    Wanted,
    make_deterministic,
)
from tailor.training.planning import MemoryEstimate


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


def prepare(attempt: Attempt, asking: Asking) -> tuple[Prepared, Start]:
    """Read the files, hold examples out, resolve the recipe, load the model and the newest good save.

    Raises:
        Refused: the job cannot be trained as asked.
        InvalidRequest: an option is out of its bounds.
    """
    job, pulse = attempt.job, attempt.pulse
    options = JobOptions.parse(job.options)
    base, method = _base(attempt), method_of(job)
    directory = Path(base.directory)
    wanted = Wanted.parse(job.hyperparameters, options.training)
    template = load_template(directory)
    school = School(attempt, asking, wanted, template) if method == "distillation" else None
    examples = read_examples(attempt, options, school)
    pulse.stop_if_asked()
    facts = _facts(base)
    limit = min(wanted.max_context_tokens or facts.context_length, facts.context_length)
    tokens = tokenized(attempt, examples, template, school, limit=limit)
    grader = grader_of(job) if method == "reinforcement" else None
    grading = Grading(grader, asking) if grader is not None else None
    pulse.stop_if_asked()
    replay, fingerprint = replayed(attempt, wanted, template, limit=limit)
    known = replace(tokens.training.facts, num_replay=len(replay), replay=fingerprint)
    recipe, memory = _recipe(attempt, wanted, facts, known, tokens, school)
    prepared = Prepared(
        base=base,
        training=examples.training,
        tokenized=tokens.training,
        held_out=examples.held_out,
        validation=tokens.validation,
        template=template,
        recipe=recipe,
        options=options,
        memory=memory,
        grading=grading,
        replay=replay,
    )
    return prepared, _start(attempt, prepared, school)


def _recipe(
    attempt: Attempt,
    wanted: Wanted,
    base: BaseFacts,
    known: DatasetFacts,
    tokens: TokenizedExamples,
    school: School | None,
) -> tuple[Recipe, MemoryEstimate | None]:
    """The recipe of earlier attempts, else a new one that fits into memory; and what it takes."""
    if wanted.patience and not tokens.validation.examples:
        raise Refused(
            "To stop early, training must look at held-out examples, and there are none.",
            code="nothing_held_out",
            param="tailor.early_stopping",
            remedy="Give a validation file, or leave out tailor.hold_out.",
        )
    saved = saved_recipe(attempt)
    recipe = saved or Recipe.auto(
        known,
        base,
        wanted,
        seed=attempt.job.seed,
        method=method_of(attempt.job),
        native_dtype=native_dtype(),
        parent=_parent(attempt),
        teacher=school.digest if school else None,
    )
    return fitted(
        attempt,
        base,
        recipe,
        tokens.training.examples,
        may_change=saved is None,
        teacher=school.logits_of if school else None,
    )


def _start(attempt: Attempt, prepared: Prepared, school: School | None) -> Start:
    """The model in memory, as far as the newest good save brings it."""
    pulse, recipe = attempt.pulse, prepared.recipe
    validation = prepared.validation.examples
    _show(attempt, recipe)
    pulse.enter("preparing", patience_seconds=BLOCK_PATIENCE_SECONDS)
    make_deterministic(attempt.settings.num_threads)
    teacher = school.load(recipe) if school else None
    directory = Path(prepared.base.directory)
    learner = Learner.open(directory, recipe, parent=_parent(attempt), teacher=teacher)
    learner.measure_reference([*prepared.tokenized.examples, *validation], tick=pulse.stop_if_asked)
    progress = restored(attempt, learner, prepared.training.fingerprint)
    progress = within_memory(attempt, recipe, progress)
    pulse.stop_if_asked()
    practice: Practice | OwnAnswers | None = None
    if prepared.grading is not None:
        practice = make_practice(learner, prepared.grading, cast("Sequence[TokenizedPrompt]", validation))
    elif recipe.imitation is not None and recipe.imitation.own_share:
        practice = make_own_answers(learner, school.aligner if school else None)
    return Start(learner=learner, progress=progress, practice=practice)


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


def _show(attempt: Attempt, recipe: Recipe) -> None:
    """Put numbers in place of "auto", in both places of the wire."""
    resolved = recipe.wire_hyperparameters()
    method, kind = attempt.job.method, method_of(attempt.job)
    asked = {**(method.get(kind) or {}), "hyperparameters": resolved}
    attempt.lease.resolve(
        resolved, method={**method, "type": kind, kind: asked}, total_steps=recipe.num_steps
    )
