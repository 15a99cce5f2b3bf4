"""What training will take: memory and arithmetic, by the shapes of model, recipe and batches.

On the processor a step holds the libraries, the base, what is trained with its float32 masters, gradients
and moments, what the layers keep for the backward pass, the attention scores that pass over one layer makes,
and tiles of logits. What the layers keep is counted tensor by tensor; how much more passes through was
measured (`benchmarks/memory.py`, docs/training.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from tailor.models.catalogue import BaseFacts
from tailor.training.batches import DataOrder, microbatches_of, pack, shards_of
from tailor.training.recipe import Recipe

MIB: Final = 2**20
_LIBRARIES_BYTES: Final = 330 * MIB
_TILE_BYTES: Final = 64 * MIB
_TILES: Final = 4
"""Logits, probabilities, their gradient, and the output layer's own."""

_SCORE_COPIES: Final = 6.0
"""Attention scores of one layer that are alive together in its backward pass."""

_LONG_SCORE_COPIES: Final = {"bfloat16": 2.5, "float32": 0.5}
"""The same of the longest example, where each is attended by itself: that kernel works in float32."""

_TRAINED_BYTES: Final = {"bfloat16": 16.0, "float32": 20.0}
"""For each trained number: weight, master, gradient, two moments."""

_ROUNDING_BYTES: Final = 250 * MIB
"""What rounding a base leaves behind in the process."""

_QUANTIZED_BYTES: Final = {"int8": 1.01, "nf4": 0.54}
_SURVEYED_STEPS: Final = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What goes through the model at once."""

    tokens: int
    """Computed tokens, shared ones once."""

    targets: int
    """Tokens with loss."""

    score_pairs: int
    """Pairs of tokens that attention compares at once, padding not counted."""

    longest_pairs: int
    """Those of the longest example, where examples are too long to be compared together; else 0."""

    @property
    def size(self) -> tuple[int, int]:
        """To order loads by."""
        return self.tokens, self.score_pairs

    def __add__(self, other: Load) -> Load:
        return Load(
            tokens=self.tokens + other.tokens,
            targets=self.targets + other.targets,
            score_pairs=self.score_pairs + other.score_pairs,
            longest_pairs=max(self.longest_pairs, other.longest_pairs),
        )


NO_LOAD: Final = Load(tokens=0, targets=0, score_pairs=0, longest_pairs=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What the steps of a run put through the model, by a sample of them."""

    step: Load
    """Of a usual step."""

    largest: Load
    """Of the largest micro-batch."""

    smallest_room: int
    """Tokens of the longest item: a micro-batch cannot be smaller."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryEstimate:
    """Peak memory of a training process on the processor, in bytes."""

    libraries_bytes: int
    """Python, torch, transformers."""

    base_bytes: int
    """The weights of the base, and of a teacher."""

    trained_bytes: int
    """What is trained: masters, gradients, optimiser state."""

    activations_bytes: int
    """What the layers keep for the backward pass, and what passes through one of them."""

    output_bytes: int
    """The output layer, tile by tile."""

    @property
    def total_bytes(self) -> int:
        """All together."""
        return (
            self.libraries_bytes
            + self.base_bytes
            + self.trained_bytes
            + self.activations_bytes
            + self.output_bytes
        )


def survey(items: Sequence[Any], recipe: Recipe, *, share: bool = True) -> Workload:
    """What steps of a run look like: the first ones of its first epoch, packed as training will."""
    order = DataOrder(items, recipe)
    num_steps = min(_SURVEYED_STEPS, order.steps_per_epoch)
    total, largest = NO_LOAD, NO_LOAD
    for step in range(num_steps):
        for shard in shards_of(order.examples_of(step), recipe.shard_size):
            for group in microbatches_of(shard, recipe.max_microbatch_tokens, share=share):
                load = load_of(group, share=share)
                total += load
                largest = max(largest, load, key=lambda each: each.size)
    return Workload(
        step=Load(
            tokens=total.tokens // num_steps,
            targets=total.targets // num_steps,
            score_pairs=total.score_pairs // num_steps,
            longest_pairs=total.longest_pairs,
        ),
        largest=largest,
        smallest_room=max(item.num_tokens for item in items),
    )


def load_of(group: Sequence[Any], *, share: bool) -> Load:
    """What a micro-batch puts through the model."""
    batch = pack([sequence for item in group for sequence in item.sequences], share=share)
    lengths, depths = batch.layout.lengths, batch.layout.depths
    pairs = [length * (depth + length) for length, depth in zip(lengths, depths, strict=True)]
    return Load(
        tokens=len(batch.ids_T),
        targets=len(batch.targets_N),
        score_pairs=0 if batch.layout.is_long else sum(pairs),
        longest_pairs=max(pairs) if batch.layout.is_long else 0,
    )


def estimate_memory(base: BaseFacts, recipe: Recipe, load: Load, *, num_workers: int) -> MemoryEstimate:
    """Peak memory of a step whose largest micro-batch is `load`; so many shards are computed side by side."""
    element = 2 if recipe.dtype == "bfloat16" else 4
    weights = base.num_parameters * element
    if recipe.quantization is not None:
        rounded = base.num_linear * (element - _QUANTIZED_BYTES[recipe.quantization])
        weights += _ROUNDING_BYTES - round(rounded)
    trained = _num_trained(base, recipe)
    full = recipe.adapter == "full"
    return MemoryEstimate(
        libraries_bytes=_LIBRARIES_BYTES,
        base_bytes=weights if not full else 0,
        trained_bytes=round(trained * (_TRAINED_BYTES[recipe.dtype] + 4.0 * (num_workers - 1))),
        activations_bytes=num_workers * _activations(base, recipe, load, element),
        output_bytes=num_workers * _TILES * min(_TILE_BYTES, 4 * base.vocab_size * max(1, load.targets)),
    )


def _activations(base: BaseFacts, recipe: Recipe, load: Load, element: int) -> int:
    """What autograd keeps: of every layer, or of one and the inputs of all."""
    heads = base.num_heads * base.head_dim
    kv_heads = base.num_kv_heads * base.head_dim
    of_adapter = 7 * recipe.rank if recipe.adapter in ("lora", "dora") else 0
    of_all = 2 * base.hidden_size if recipe.adapter == "full" else 0
    per_token = element * (
        4 * base.intermediate_size + 5 * base.hidden_size + heads + 2 * kv_heads + of_adapter + of_all
    )
    scores = element * base.num_heads * load.score_pairs
    layer = per_token * load.tokens + scores
    longest = element * base.num_heads * load.longest_pairs
    passing = round(_SCORE_COPIES * scores + _LONG_SCORE_COPIES[recipe.dtype] * longest)
    if recipe.recompute_activations:
        return layer + base.num_layers * element * base.hidden_size * load.tokens + passing
    return base.num_layers * layer + passing


def _num_trained(base: BaseFacts, recipe: Recipe) -> int:
    """Numbers that the optimiser moves."""
    layers, width = base.num_layers, base.hidden_size
    match recipe.adapter:
        case "full":
            return base.num_parameters
        case "bottleneck":
            return 4 * layers * width * recipe.size
        case "prefix":
            return 2 * layers * recipe.num_virtual_tokens * base.num_kv_heads * base.head_dim
        case "ia3":
            return layers * (2 * base.num_kv_heads * base.head_dim + base.intermediate_size)
        case _:
            return recipe.rank * base.linear_features


def estimate_flops(base: BaseFacts, recipe: Recipe, load: Load) -> float:
    """Floating-point operations of a forward and backward pass over a load.

    A product with a frozen matrix is done twice, for the output and for the gradient of its input; with a
    trained one a third time. What is recomputed adds another forward pass.
    """
    times = 3 if recipe.adapter == "full" else 2
    again = 1 if recipe.recompute_activations else 0
    blocks = 2.0 * base.num_linear * load.tokens * (times + again)
    adapters = 2.0 * 3 * _num_trained(base, recipe) * load.tokens if recipe.adapter != "full" else 0.0
    output = 2.0 * base.vocab_size * base.hidden_size * load.targets * times
    pairs = load.score_pairs + load.longest_pairs / 2  # of long examples only what is seen is computed
    attention = 4.0 * base.num_layers * base.num_heads * base.head_dim * pairs * (3 + again)
    return blocks + adapters + output + attention
