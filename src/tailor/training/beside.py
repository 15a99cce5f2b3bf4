"""What is computed beside training, without gradients: a KTO step's strangers, a teacher's distributions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from tailor.models.catalogue import BaseFacts
from tailor.training.batches import DataOrder, TokenizedExample, microbatches_of, shards_of
from tailor.training.distillation import TokenizedLesson
from tailor.training.opinions import TokenizedOpinion
from tailor.training.planning import MIB, NO_LOAD, Load, MemoryEstimate, estimate_memory, load_of
from tailor.training.recipe import Recipe

_SURVEYED_STEPS: Final = 8
_TILE_BYTES: Final = 32 * MIB
_DIVERGENCE_TILES: Final = 10
"""Of both models: logits, their logarithms and probabilities, and the slopes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """Passes without gradients, by the model in training or by a teacher."""

    teacher: BaseFacts | None
    """Who computes them; None: the model in training."""

    step: Load
    """Of a usual step."""

    largest: Load
    """Computed at once."""

    def flops(self, base: BaseFacts) -> float:
        """Floating-point operations of a usual step's."""
        facts, load = self.teacher or base, self.step
        pairs = load.score_pairs + load.longest_pairs / 2
        attention = 4.0 * facts.num_layers * facts.num_heads * facts.head_dim * pairs
        output = 2.0 * facts.vocab_size * facts.hidden_size * load.targets
        return 2.0 * facts.num_linear * load.tokens + attention + output

    def added(
        self, memory: MemoryEstimate, base: BaseFacts, recipe: Recipe, num_workers: int
    ) -> MemoryEstimate:
        """The memory of training with this beside it.

        A teacher's weights come on top. The passes come before the one with gradients, and keep one layer at
        a time, so they only matter where they are larger.
        """
        facts = self.teacher or base
        passing = self._passing_bytes(facts, recipe)
        if self.teacher is None:
            return replace(memory, activations_bytes=max(memory.activations_bytes, passing))
        element = 2 if recipe.dtype == "bfloat16" else 4
        vocab_size = max(base.vocab_size, facts.vocab_size)
        tile = min(_TILE_BYTES, 4 * vocab_size * max(1, self.largest.targets))
        return replace(
            memory,
            base_bytes=memory.base_bytes + element * facts.num_parameters,
            activations_bytes=max(memory.activations_bytes, num_workers * passing),
            output_bytes=num_workers * _DIVERGENCE_TILES * tile,
        )

    def _passing_bytes(self, facts: BaseFacts, recipe: Recipe) -> int:
        """One layer without a backward pass: a third of its copies of the scores, long ones never whole."""
        alone = replace(recipe, recompute_activations=True, adapter="lora", quantization=None)
        load = replace(self.largest, score_pairs=self.largest.score_pairs // 3, longest_pairs=0)
        one = replace(facts, num_layers=1)
        return estimate_memory(one, alone, load, num_workers=1).activations_bytes


def survey_beside(
    items: Sequence[Any], recipe: Recipe, teacher: BaseFacts | None, *, share: bool = True
) -> Beside | None:
    """What the first steps of the first epoch compute beside training; None where that is nothing."""
    if recipe.imitation is None and (recipe.method, recipe.opinion_loss) != ("kto", "kto"):
        return None
    order = DataOrder(items, recipe)
    num_steps = min(_SURVEYED_STEPS, order.steps_per_epoch)
    total, largest = NO_LOAD, NO_LOAD
    for step in range(num_steps):
        for load in _loads(order.examples_of(step), recipe, share=share):
            total += load
            largest = max(largest, load, key=lambda each: each.size)
    usual = Load(
        tokens=total.tokens // num_steps,
        targets=total.targets // num_steps,
        score_pairs=total.score_pairs // num_steps,
        longest_pairs=total.longest_pairs,
    )
    return Beside(teacher=teacher if recipe.imitation else None, step=usual, largest=largest)


def _loads(items: Sequence[Any], recipe: Recipe, *, share: bool) -> list[Load]:
    """Of a step: strangers all together, before its shards; a teacher's beside each micro-batch."""
    room = recipe.max_microbatch_tokens
    if recipe.imitation is None:
        strangers = [item.stranger for item in items if isinstance(item, TokenizedOpinion)]
        return [load_of(group, share=share) for group in microbatches_of(strangers, room, share=share)]
    return [
        load_of([_read(item) for item in group], share=share)
        for shard in shards_of(items, recipe.shard_size)
        for group in microbatches_of(shard, room, share=share)
    ]


def _read(item: TokenizedLesson) -> TokenizedExample:
    return item.example if item.counterpart is None else item.counterpart.example
