"""What "auto" means: rules that look at the data and the base (reasons in docs/training.md)."""

from __future__ import annotations

import math

from tailor.training.adaptation import RATE_FACTORS
from tailor.training.wanted import AdapterKind

TEXT_STEP_TOKENS = 8192
"""Tokens of plain text per optimiser step, unless the caller says otherwise."""

DPO_RATE_SHARE = 0.1
"""A preference moves a model that can answer already: a tenth of the rate that teaches to answer."""

REINFORCEMENT_RATE_SHARE = 0.2
"""Rewards move a model that can do a task now and then, with noisy gradients: a fifth of the rate."""

NUM_LOOKS = 10
"""How often early stopping looks at the held-out examples in a whole run, beside the ends of epochs."""

WITH_REPLAY = ("supervised", "text")
"""Methods that general data can be mixed into."""

_SMALL_BASE_PARAMETERS = 100_000_000
_SMALL_BASE_STEPS = 300
_REINFORCEMENT_STEPS = 100


def auto_epochs(num_examples: int, batch_size: int, num_parameters: int) -> int:
    """OpenAI's notebook rule: 3, more for very small sets, fewer for very large ones.

    A small base has less to start from and needs more steps: below 100 M parameters at least 3 epochs and
    `_SMALL_BASE_STEPS` steps are made (measured on the embedded base, docs/log.md), but never over 25 epochs.
    """
    epochs = 3
    if 3 * num_examples < 100:
        epochs = min(25, 100 // num_examples)
    elif 3 * num_examples > 25_000:
        epochs = max(1, 25_000 // num_examples)
    if num_parameters < _SMALL_BASE_PARAMETERS:
        steps_per_epoch = math.ceil(num_examples / batch_size)
        epochs = max(3, epochs, min(25, math.ceil(_SMALL_BASE_STEPS / steps_per_epoch)))
    return epochs


def auto_prompts(num_examples: int) -> int:
    """About a fiftieth of the prompts in a step, from 4 to 16: each stands for a whole group of answers."""
    return min(16, max(4, 1 << max(0, round(math.log2(max(1, num_examples) / 50)))))


def auto_rounds(num_examples: int, batch_size: int) -> int:
    """Epochs that make about a hundred steps, at least one and at most 25."""
    return max(1, min(25, math.ceil(_REINFORCEMENT_STEPS / math.ceil(num_examples / batch_size))))


def auto_shard_size(batch_size: int) -> int:
    """Half a step, at least 8: examples of one shard share their beginnings, and two cores want one each."""
    return max(8, math.ceil(batch_size / 2))


def auto_text_epochs(num_tokens: int) -> int:
    """Once through plain text; three times where it has less than a million tokens, which teach little."""
    return 1 if num_tokens >= 1_000_000 else 3


def auto_rank(num_parameters: int) -> int:
    """16; 64 for a small base, whose layers are so narrow that 16 leaves out what a task needs."""
    return 64 if num_parameters < _SMALL_BASE_PARAMETERS else 16


def auto_batch_size(num_examples: int) -> int:
    """About one per cent of the examples, as a power of two from 4 to 32."""
    return min(32, max(4, 1 << max(0, round(math.log2(max(1, num_examples) / 60)))))


def auto_dtype(num_parameters: int, native_dtype: str) -> str:
    """What the processor multiplies fastest; float32 for a small base, which gains no time by less."""
    return "float32" if num_parameters < _SMALL_BASE_PARAMETERS else native_dtype


def auto_learning_rate(kind: AdapterKind, hidden_size: int, rank: int) -> float:
    """1e-4 for full fine-tuning at width 2000, more for narrower models; for LoRA five times that at rank 16.

    A wider adapter moves the weights further with each step: the rate falls with the root of the rank.
    """
    width: float = (2000 / hidden_size) ** 0.78
    return 1e-4 * width * RATE_FACTORS[kind] * (math.sqrt(16 / rank) if kind in ("lora", "dora") else 1)
