"""A recipe that fits into memory: a ladder of ways to need less, the harmless ones first."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import torch

from tailor.models.catalogue import BaseFacts
from tailor.models.devices import choose_device
from tailor.models.loading import DTYPES
from tailor.training.beside import Beside, survey_beside
from tailor.training.card_planning import estimate_card_memory
from tailor.training.planning import Load, MemoryEstimate, Workload, estimate_flops, estimate_memory, survey
from tailor.training.recipe import Recipe

_EFFICIENCY: Final = 0.6
"""Share of a large matrix product's speed that a step reaches: 0.5 to 0.7 (docs/training.md)."""

_LEAST_TOKENS: Final = 128
_PROBE_WIDTH: Final = 512
_CARD_PROBE_WIDTH: Final = 4096
_PROBE_SECONDS: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitted:
    """How a run fits into memory."""

    recipe: Recipe
    """The one asked for, or one that needs less."""

    workload: Workload
    memory: MemoryEstimate
    room_bytes: int | None
    """Memory that may be used; None where it is not known."""

    changes: tuple[str, ...]
    """What was changed, each as a sentence; none of it changes the result but for rounding."""

    beside: Beside | None = None
    """What is computed beside training."""

    offer: tuple[Recipe, MemoryEstimate] | None = None
    """Where it does not fit: the gentlest rounding of the base with which it would."""

    @property
    def fits(self) -> bool:
        """Whether the estimate is below the room."""
        return _is_within(self.memory, self.room_bytes)


def fit(
    base: BaseFacts,
    recipe: Recipe,
    items: Sequence[Any],
    *,
    room_bytes: int | None,
    num_workers: int,
    share: bool = True,
    on_card: bool = False,
    teacher: BaseFacts | None = None,
) -> Fitted:
    """The first rung of the ladder that fits: as asked, smaller micro-batches, recomputed activations.

    Both change nothing but the order of sums. Where that is not enough, rounding the base (int8, then NF4)
    is offered, not done: it changes what is learned. `on_card`: the room is that of a card. `teacher`: the
    base whose logits are learned from.
    """

    def estimate(recipe: Recipe, load: Load, beside: Beside | None) -> MemoryEstimate:
        workers = 1 if on_card else num_workers
        if on_card:
            memory = estimate_card_memory(base, recipe, load)
        else:
            memory = estimate_memory(base, recipe, load, num_workers=workers)
        return memory if beside is None else beside.added(memory, base, recipe, workers)

    found = None
    for rung, changes in _rungs(recipe, items):
        workload = survey(items, rung, share=share)
        beside = survey_beside(items, rung, teacher, share=share)
        found = Fitted(
            recipe=rung,
            workload=workload,
            memory=estimate(rung, workload.largest, beside),
            room_bytes=room_bytes,
            changes=tuple(changes),
            beside=beside,
        )
        if found.fits:
            return found
    if found is None:
        raise ValueError("there is always one rung")
    for rounded in _rounded(found.recipe):
        memory = estimate(rounded, found.workload.largest, found.beside)
        if _is_within(memory, room_bytes):
            return replace(found, offer=(rounded, memory))
    return found


def _rungs(recipe: Recipe, items: Sequence[Any]) -> Iterator[tuple[Recipe, list[str]]]:
    yield recipe, []
    longest = max(item.num_tokens for item in items)
    tokens, changes = recipe.max_microbatch_tokens, []
    while tokens > max(longest, _LEAST_TOKENS):
        tokens = max(tokens // 2, longest, _LEAST_TOKENS)
        changes = [f"At most {tokens:,} tokens are computed at once."]
        recipe = replace(recipe, max_microbatch_tokens=tokens)
        yield recipe, changes
    if not recipe.recompute_activations:
        changes = [*changes, "Activations are computed again in the backward pass, not kept."]
        yield replace(recipe, recompute_activations=True), changes


def _rounded(recipe: Recipe) -> Iterator[Recipe]:
    if recipe.adapter != "full" and recipe.quantization is None:
        yield replace(recipe, quantization="int8")
    if recipe.adapter != "full" and recipe.quantization != "nf4":
        yield replace(recipe, quantization="nf4")


def _is_within(memory: MemoryEstimate, room_bytes: int | None) -> bool:
    return room_bytes is None or memory.total_bytes <= room_bytes


def estimate_seconds(
    base: BaseFacts, recipe: Recipe, workload: Workload, beside: Beside | None = None
) -> float:
    """Seconds of all optimiser steps on the chosen device, by its speed at a matrix product just now."""
    flops = estimate_flops(base, recipe, workload.step) + (beside.flops(base) if beside else 0.0)
    return recipe.num_steps * flops / (_EFFICIENCY * matrix_speed(recipe.dtype))


def matrix_speed(dtype: str) -> float:
    """Floating-point operations a second that the chosen device reaches at a matrix product."""
    device = choose_device()
    width, finish = _PROBE_WIDTH, _nothing
    if device.type == "cuda":
        width, finish = _CARD_PROBE_WIDTH, torch.cuda.synchronize
    left = torch.randn(width, width).to(device, DTYPES[dtype])
    left @ left
    finish()
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _PROBE_SECONDS:
        left @ left
        finish()
        count += 1
    return 2.0 * width**3 * count / (time.perf_counter() - began)


def _nothing() -> None:
    """A processor is done when it says so."""
