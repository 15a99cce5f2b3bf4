"""What a job would take, before there is one: steps, tokens, memory, time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from tailor.data import Dataset, hold_out, read_for
from tailor.errors import InvalidRequest
from tailor.jobs.options import JobOptions
from tailor.jobs.reading import TOKENIZERS
from tailor.jobs.room import room_for_training
from tailor.jobs.settings import WorkerSettings
from tailor.jobs.teaching import Teacher, local_teacher, signal_of
from tailor.models import Template, inspect, load_template, native_dtype
from tailor.protocol import PlannedMemory, TrainingPlan
from tailor.store import JobSpec, Store
from tailor.training import Recipe, Tokenized, Wanted, same_tokens
from tailor.training.fitting import Fitted, estimate_seconds, fit

SAMPLED = 2_000
"""Examples that are tokenised to know the rest by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Data:
    """The training file as far as it is looked at."""

    num_examples: int
    """That would be trained on."""
    tokenized: Tokenized[Any]
    """Of a sample of them."""


def plan(store: Store, tenant: str, spec: JobSpec, settings: WorkerSettings) -> TrainingPlan:
    """The recipe of a job, and what it would take on this machine as it is now. Trains nothing.

    Raises:
        InvalidRequest: the file is not good, or an option is out of its bounds.
    """
    options = JobOptions.parse(spec.options)
    wanted = Wanted.parse(spec.hyperparameters, options.training)
    base = store.bases.get(spec.base)
    directory = Path(base.directory)
    facts, method = inspect(directory), str(spec.method["type"])
    parent = None
    if spec.parent is not None:
        parent = store.weights.path(store.versions.get(tenant, spec.parent).digest)
    limit = min(wanted.max_context_tokens or facts.context_length, facts.context_length)
    template = load_template(directory)
    teacher = _teacher(store, tenant, spec, wanted, template)
    as_tokens = partial(TOKENIZERS[method], template=template, max_tokens=limit)
    data = _read(store, tenant, spec, options, as_tokens)
    sampled = data.tokenized.facts
    scale = data.num_examples / max(1, sampled.num_examples)
    recipe = Recipe.auto(
        replace(sampled, num_examples=data.num_examples, num_tokens=round(scale * sampled.num_tokens)),
        facts,
        wanted,
        seed=spec.seed or 0,
        method=method,
        native_dtype=native_dtype(),
        parent=parent,
        teacher=teacher.digest if teacher else None,
    )
    room, on_card = room_for_training()
    workers = settings.num_threads
    found = fit(
        facts,
        recipe,
        data.tokenized.examples,
        room_bytes=room,
        num_workers=workers,
        on_card=on_card,
        teacher=teacher.facts if teacher else None,
    )
    return TrainingPlan(
        model=base.name,
        method=method,
        num_examples=data.num_examples,
        num_tokens=round(scale * sampled.num_tokens),
        num_steps=found.recipe.num_steps,
        computed_tokens_per_step=found.workload.step.tokens,
        recipe=found.recipe.to_dict(),
        memory=_memory(found),
        fits=found.fits,
        changes=list(found.changes),
        offer=_offer(found),
        seconds=None
        if _makes_its_own(recipe)
        else estimate_seconds(facts, found.recipe, found.workload, found.beside),
        notes=[*_notes(found, data), *(["Memory is that of the card."] if on_card else [])],
    )


def _read(
    store: Store,
    tenant: str,
    spec: JobSpec,
    options: JobOptions,
    tokenized: Callable[[Any], Tokenized[Any]],
) -> _Data:
    method = str(spec.method["type"])
    with store.files.open(tenant, spec.training_file) as stream:
        dataset: Dataset[Any] = read_for(method, stream, name=spec.training_file, part="training_file")
    if not dataset.report.ok:
        error = dataset.report.job_error(param="training_file")
        raise InvalidRequest(error["message"], code=error["code"], param="training_file")
    if spec.validation_file is None:
        share, maximum = options.share_and_maximum(len(dataset))
        dataset, _ = hold_out(dataset, share=share, maximum=maximum, seed=spec.seed or 0)
    made = tokenized(dataset.examples[:SAMPLED])
    if not made.examples:
        raise InvalidRequest(
            "No example has an answer within the context, so there is nothing to learn.",
            param="training_file",
            code="invalid_training_file",
            remedy="Shorten the prompts, or choose a base with a longer context.",
        )
    return _Data(num_examples=len(dataset), tokenized=made)


def _memory(found: Fitted) -> PlannedMemory:
    memory = found.memory
    return PlannedMemory(
        total_bytes=memory.total_bytes,
        libraries_bytes=memory.libraries_bytes,
        base_bytes=memory.base_bytes,
        trained_bytes=memory.trained_bytes,
        activations_bytes=memory.activations_bytes,
        output_bytes=memory.output_bytes,
        room_bytes=found.room_bytes,
    )


def _offer(found: Fitted) -> str | None:
    """What to do where it does not fit, as a sentence."""
    if found.fits:
        return None
    if found.offer is not None:
        recipe, memory = found.offer
        return (
            f'With "quantization": "{recipe.quantization}" it would take about '
            f"{memory.total_bytes / 1e9:.1f} GB."
        )
    return "Choose a smaller base, or a smaller max_context_tokens."


def _teacher(store: Store, tenant: str, spec: JobSpec, wanted: Wanted, template: Template) -> Teacher | None:
    """Whose logits would be learned from; None where it would be answers."""
    if spec.method["type"] != "distillation":
        return None
    found = local_teacher(store, tenant, spec.method["distillation"]["teacher"])
    if found is None:
        return None
    return found if signal_of(wanted, is_same=same_tokens(template, found.template)) == "logits" else None


def _makes_its_own(recipe: Recipe) -> bool:
    """Whether answers must be written before there is something to train on."""
    if recipe.method == "distillation":
        return recipe.imitation is None or recipe.imitation.own_share > 0
    return recipe.method == "reinforcement"


def _notes(found: Fitted, data: _Data) -> list[str]:
    notes = []
    if len(data.tokenized.examples) < data.num_examples:
        notes.append(f"By the first {len(data.tokenized.examples):,} of {data.num_examples:,} examples.")
    if _makes_its_own(found.recipe):
        notes.append("Time is not foretold: answers are written first, and nobody knows how long they are.")
    return notes
