"""The training loop: a generator of updates. The caller prints, stores, checkpoints or stops."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from tailor.errors import InvalidRequest
from tailor.training.batches import DataOrder, Trainable, epoch_order
from tailor.training.learner import Learner, StepResult
from tailor.training.recipe import Recipe
from tailor.training.rollouts import Tick
from tailor.training.selfcheck import packing_is_exact, switch_to_plain
from tailor.training.updates import EpochEnd, Note, Progress, StepMetrics, Update

_VALIDATE_EVERY_STEPS = 10
_SAMPLE_SIZE = 8
_CHECK_SIZE = 3
_MAX_BAD_STEPS_IN_ROW = 3
_MIN_MICROBATCH_TOKENS = 64


class Made(Protocol):
    """A step's items, where they are made during training."""

    @property
    def items(self) -> Sequence[Trainable]:
        """What teaches something; there may be none."""
        ...

    @property
    def num_updates(self) -> int:
        """Optimiser updates to be made on them."""
        ...

    @property
    def note(self) -> str | None:
        """Something that the user should know."""
        ...

    @property
    def figures(self) -> Mapping[str, float]:
        """What was measured on the way."""
        ...

    def report(self, validated: Any, *, seconds_training: float) -> Mapping[str, Any]:
        """Of reinforcement: what was tried and what it was worth."""
        ...


class Source(Protocol):
    """Where a step's items come from, if the model in training makes them."""

    @property
    def validates(self) -> bool:
        """Whether `validate` looks at the held-out items, instead of the objective."""
        ...

    def gather(self, learner: Learner, items: Sequence[Any], step: int, *, tick: Tick) -> Made:
        """What a step is computed from; `items` are the training examples whose turn it is."""
        ...

    def is_due(self, step: int, *, is_last: bool) -> bool:
        """Whether held-out items are looked at after this step, counted from 0."""
        ...

    def validate(self, *, tick: Tick) -> Any:
        """How the held-out items fare now."""
        ...


def train(
    learner: Learner,
    training: Sequence[Trainable],
    *,
    validation: Sequence[Trainable] = (),
    practice: Source | None = None,
    replay: Sequence[Trainable] = (),
    progress: Progress | None = None,
    on_microbatch: Callable[[], None] | None = None,
) -> Iterator[Update]:
    """Train from `progress` to the end of the recipe, or to an early stop.

    As many of `replay` as the recipe says are mixed into each epoch. After the last update the learner has
    the weights that the recipe asks for: the last, the best, or the mean of the last ones.

    With `practice`, `training` are prompts: each step's items are made of the model's own answers to them,
    and so are the validation figures. Stop between two updates whenever you like: with the learner's state
    and the last update's `progress` another call goes on to the same bytes. Checkpoint at a StepMetrics, or
    at the EpochEnd that follows it. `on_microbatch` is called before each micro-batch, of training and of
    validation, and while answers are tried; raising there stops at once, and the unfinished step is lost.

    Raises:
        InvalidRequest: three steps in a row had a loss or gradient that is not finite (`non_finite_loss`).
        torch.OutOfMemoryError: not even one example fits.
    """
    progress = progress or Progress()
    recipe = learner.recipe
    order = DataOrder(training, recipe, replay)
    tick = on_microbatch or (lambda: None)
    validation = () if practice is not None and practice.validates else validation
    sample = epoch_order(validation, seed=recipe.seed, epoch=0)[:_SAMPLE_SIZE]
    progress, notes = _checked(learner, order, progress)
    yield from notes
    for step in range(progress.step, 0 if progress.is_stopped else recipe.num_steps):
        examples = order.examples_of(step)
        tried = None
        if practice is not None:
            tried = practice.gather(learner, examples, step, tick=tick)
        if tried is not None and tried.note:
            yield Note(level="warn", step=step + 1, message=tried.note)
        begun_at = time.monotonic()
        items, num_updates = (tried.items, tried.num_updates) if tried else (examples, 1)
        result, progress, notes = _updated(learner, items, step, num_updates, progress, on_microbatch)
        seconds_training = time.monotonic() - begun_at
        _average(learner, step)
        yield from notes
        if not result.is_finite:
            progress = _skipped(progress, examples, step)
            yield Note(
                level="warn",
                step=step + 1,
                message=f"Step {step + 1} was skipped: its loss or gradient is not finite.",
            )
        else:
            rate = recipe.learning_rate_at(step - progress.num_skipped)
            report: Mapping[str, Any] = {}
            if practice is not None and tried is not None:
                is_last = step + 1 == recipe.num_steps
                looked = practice.validate(tick=tick) if practice.is_due(step, is_last=is_last) else None
                report = tried.report(looked, seconds_training=seconds_training)
            looks = _validated(learner, validation, sample, order, step, on_microbatch)
            progress = replace(
                progress,
                step=step + 1,
                num_skipped_in_row=0,
                num_tokens=progress.num_tokens + result.num_tokens,
            )
            progress = _watched(learner, progress, looks.get("full_valid_loss"))
            yield StepMetrics(
                step=step + 1,
                total_steps=recipe.num_steps,
                epoch=order.epoch_of(step) + 1,
                train_loss=result.loss,
                train_mean_token_accuracy=result.accuracy,
                learning_rate=rate,
                num_tokens=result.num_tokens,
                gradient_norm=result.gradient_norm,
                figures={**result.figures, **(tried.figures if tried else {})},
                report=report,
                **looks,
                progress=progress,
            )
        if order.ends_epoch(step) or step + 1 == recipe.num_steps or progress.is_stopped:
            yield EpochEnd(epoch=order.epoch_of(step) + 1, step=step + 1, progress=progress)
        if progress.is_stopped:
            break
    learner.settle()
    if progress.best_step is not None and progress.best_step < progress.step:
        yield Note(level="info", step=progress.step, message=_about_the_best(progress, recipe))


def make_deterministic(num_threads: int) -> None:
    """Fix this process's thread count and kernels, so that equal inputs give equal bytes."""
    torch.set_num_threads(num_threads)
    # Without it products on a card may differ from run to run; read before the first one.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Filling fresh memory with NaN is a debugging aid that costs a pass over every tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _checked(
    learner: Learner, order: DataOrder[Trainable], progress: Progress
) -> tuple[Progress, list[Note]]:
    """Self-check once per run; a resumed run keeps the verdict it has."""
    notes = []
    if progress.is_packed is None:
        sequences = [each for item in order.examples_of(0)[:_CHECK_SIZE] for each in item.sequences]
        is_exact = packing_is_exact(learner.loaded, sequences[: _CHECK_SIZE + 1])
        progress = replace(progress, is_packed=is_exact)
        if not is_exact:
            notes.append(
                Note(
                    level="warn",
                    step=progress.step,
                    message="Packed and plain computation disagree for this model; training goes on example "
                    "by example, which is slower.",
                )
            )
    if not progress.is_packed:
        switch_to_plain(learner.loaded)
    return progress, notes


def _updated(
    learner: Learner,
    items: Sequence[Trainable],
    step: int,
    num_updates: int,
    progress: Progress,
    on_microbatch: Callable[[], None] | None,
) -> tuple[StepResult, Progress, list[Note]]:
    """Move the weights so many times, up to a gradient that is not finite; not at all without items."""
    result, all_notes = StepResult(loss=0.0, accuracy=0.0, num_tokens=0, gradient_norm=0.0), []
    rate = learner.recipe.learning_rate_at(step - progress.num_skipped)
    for _ in range(num_updates if items else 0):
        result, progress, notes = _forward_backward(learner, items, step, progress, on_microbatch)
        all_notes += notes
        if not result.is_finite:
            break
        learner.step(rate, gradient_norm=result.gradient_norm)
    return result, progress, all_notes


def _forward_backward(
    learner: Learner,
    examples: Sequence[Trainable],
    step: int,
    progress: Progress,
    on_microbatch: Callable[[], None] | None,
) -> tuple[StepResult, Progress, list[Note]]:
    """Gradient of a step; out of memory: the same step again in halves, for the rest of the run."""
    notes: list[Note] = []
    room = progress.max_microbatch_tokens or learner.recipe.max_microbatch_tokens
    while True:
        try:
            result = learner.forward_backward(
                examples, step=step, max_microbatch_tokens=room, on_microbatch=on_microbatch
            )
            return result, progress, notes
        except torch.OutOfMemoryError:
            if room <= _MIN_MICROBATCH_TOKENS:
                raise
            room //= 2
            progress = replace(progress, max_microbatch_tokens=room)
            message = f"Out of memory: step {step + 1} is done again, {room} tokens at a time."
            notes.append(Note(level="warn", step=step + 1, message=message))
        # Not before: the error holds on to everything that did not fit.
        learner.release_memory()


def _skipped(progress: Progress, examples: Sequence[Trainable], step: int) -> Progress:
    progress = replace(
        progress,
        step=step + 1,
        num_skipped=progress.num_skipped + 1,
        num_skipped_in_row=progress.num_skipped_in_row + 1,
    )
    if progress.num_skipped_in_row >= _MAX_BAD_STEPS_IN_ROW:
        lines = ", ".join(str(example.line) for example in examples)
        raise InvalidRequest(
            f"Training failed at step {step + 1}: loss or gradient was not finite {_MAX_BAD_STEPS_IN_ROW} "
            f"times in a row, last on training-file lines {lines}.",
            code="non_finite_loss",
            param="hyperparameters",
            remedy="Use a smaller learning_rate_multiplier, or look at these lines.",
        )
    return progress


def _validated(
    learner: Learner,
    validation: Sequence[Trainable],
    sample: Sequence[Trainable],
    order: DataOrder[Trainable],
    step: int,
    on_microbatch: Callable[[], None] | None,
) -> dict[str, Any]:
    """Validation figures due after a step: a small sample now and then, everything at an epoch's end."""
    figures: dict[str, Any] = {}
    if validation and (step + 1) % _VALIDATE_EVERY_STEPS == 0:
        figures |= _means(learner, sample, "valid", on_microbatch)
    every = learner.recipe.look_every_steps
    is_due = order.ends_epoch(step) or step + 1 == learner.recipe.num_steps
    if validation and (is_due or (every and (step + 1) % every == 0)):
        figures |= _means(learner, validation, "full_valid", on_microbatch)
    return figures


def _watched(learner: Learner, progress: Progress, loss: float | None) -> Progress:
    """Early stopping: keep the best weights, and stop once they have not been bettered for long."""
    recipe = learner.recipe
    if not recipe.patience or loss is None:
        return progress
    if progress.best_loss is None or loss < progress.best_loss:
        learner.kept.keep()
        return replace(progress, best_step=progress.step, best_loss=loss, num_looks_in_vain=0)
    looks = progress.num_looks_in_vain + 1
    return replace(progress, num_looks_in_vain=looks, is_stopped=looks >= recipe.patience)


def _average(learner: Learner, step: int) -> None:
    """Weight averaging: take the weights after a step of the last part into the mean."""
    recipe = learner.recipe
    count = step + 1 - (recipe.num_steps - round(recipe.num_steps * recipe.average_share))
    if count > 0:
        learner.kept.average(count)


def _about_the_best(progress: Progress, recipe: Recipe) -> str:
    early = f"Stopped early, at step {progress.step} of {recipe.num_steps}"
    told = early if progress.is_stopped else "Done"
    return (
        f"{told}: the held-out loss was lowest at step {progress.best_step} ({progress.best_loss:.3f}), and "
        "the model has the weights of that step."
    )


def _means(
    learner: Learner,
    examples: Sequence[Trainable],
    prefix: str,
    on_microbatch: Callable[[], None] | None,
) -> dict[str, float]:
    figures = learner.evaluate(examples, on_microbatch=on_microbatch)
    weight = sum(example.total_weight for example in examples)
    return {
        f"{prefix}_loss": figures.loss_sum / weight,
        f"{prefix}_mean_token_accuracy": figures.num_right / figures.num_targets,
    }
