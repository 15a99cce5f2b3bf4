"""What training will take of a card: the count of `planning`, less what its kernels never hold.

Attention holds no scores there, only its inputs and outputs; the libraries are in the machine's own memory;
tiles of logits are larger; shards are computed one after the other. Not yet measured: docs/design/gpu.md.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tailor.models.catalogue import BaseFacts
from tailor.training.output import CARD_TILE_ELEMENTS
from tailor.training.planning import MIB, Load, MemoryEstimate, estimate_memory
from tailor.training.recipe import Recipe

_WORKSPACE_BYTES: Final = 256 * MIB
"""Of the libraries for products, and what the allocator rounds up."""

_TILES: Final = 3
"""Logits in the model's type and in float32, and what is made of them."""


def estimate_card_memory(base: BaseFacts, recipe: Recipe, load: Load) -> MemoryEstimate:
    """Peak memory of a step on a card, whose largest micro-batch is `load`."""
    without_scores = replace(load, score_pairs=0, longest_pairs=0)
    found = estimate_memory(base, recipe, without_scores, num_workers=1)
    element = 2 if recipe.dtype == "bfloat16" else 4
    heads, kv_heads = base.num_heads * base.head_dim, base.num_kv_heads * base.head_dim
    # Outputs and sums of exponentials are kept; inputs and outputs once more while a layer is computed.
    kept = load.tokens * (element * heads + 4 * base.num_heads)
    passing = load.tokens * element * 2 * (2 * heads + 2 * kv_heads)
    layers = 1 if recipe.recompute_activations else base.num_layers
    if recipe.quantization is not None:  # a matrix made whole, and the places of its codes
        passing += (element + 2) * base.hidden_size * base.intermediate_size
    tile = min(4 * CARD_TILE_ELEMENTS, 4 * base.vocab_size * max(1, load.targets))
    return replace(
        found,
        libraries_bytes=_WORKSPACE_BYTES,
        activations_bytes=found.activations_bytes + layers * kept + passing,
        output_bytes=_TILES * tile,
    )
