"""What "auto" resolves to, over a grid: a change of the rules must be meant."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tailor.errors import InvalidRequest
from tailor.models import BaseFacts, embedded_directory, inspect
from tailor.training import DatasetFacts, Recipe, Wanted

METHODS = ("supervised", "dpo", "reward_model", "kto", "text", "reinforcement", "distillation")
OPTIONS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({}, {}),
    ({"n_epochs": 2, "batch_size": 3, "learning_rate_multiplier": 0.5, "beta": 0.3}, {}),
    ({}, {"adapter": {"type": "full"}, "optimizer": "muon", "weight_decay": 0.1, "schedule": "cosine"}),
    ({}, {"adapter": {"type": "lora", "rank": 32, "rslora": True, "dropout": 0.1}, "quantization": "nf4"}),
    ({}, {"adapter": {"type": "prefix", "num_virtual_tokens": 8}, "recompute_activations": True}),
    ({}, {"adapter": {"type": "ia3"}, "learning_rate": 0.01, "dtype": "bfloat16"}),
    ({}, {"adapter": {"type": "bottleneck", "size": 32}, "max_steps": 11, "warmup_share": 0.0}),
    ({}, {"adapter": {"type": "dora"}, "early_stopping": {"patience": 2, "every_steps": 5}}),
    ({}, {"replay": {"file": "file-1", "share": 0.2}, "average_share": 0.3, "adapter_scale": 0.5}),
    ({}, {"preference": {"loss": "simpo"}, "kto": {"loss": "apo_zero_unpaired", "desirable_weight": 0}}),
    ({}, {"reinforcement": {"group_size": 4, "kl": 0.1}, "distillation": {"beta": 0.5, "own_share": 0.5}}),
    ({}, {"max_context_tokens": 64, "checkpoint_every_steps": 7, "decay_share": 0.5, "max_grad_norm": 2}),
    ({"compute_multiplier": 2.0, "eval_interval": 3, "eval_samples": 2}, {"reward_model": {"center": 0.1}}),
)


def bases() -> list[BaseFacts]:
    known = inspect(embedded_directory())
    return [
        replace(known, num_parameters=3_900_000, hidden_size=192, context_length=1024),
        replace(known, num_parameters=2_000_000_000, hidden_size=2048, context_length=4096),
    ]


def resolved() -> Iterator[tuple[tuple[object, ...], object]]:
    """Each point of the grid, and the recipe there or what refuses it."""
    points = itertools.product(enumerate(bases()), METHODS, (10, 130, 9_000), enumerate(OPTIONS))
    for (which, base), method, num_examples, (number, (hyperparameters, options)) in points:
        facts = DatasetFacts(
            num_examples=num_examples,
            num_tokens=70 * num_examples,
            have_answers=num_examples != 130,
            num_replay=40,
            replay="general",
        )
        found: object
        try:
            recipe = Recipe.auto(
                facts,
                base,
                Wanted.parse(hyperparameters, options),
                seed=3,
                method=method,
                native_dtype="bfloat16",
                teacher="t" if method == "distillation" else None,
            )
            found = recipe.to_dict() | {"wire": recipe.wire_hyperparameters()}
        except InvalidRequest as error:
            found = [error.message, error.param, error.remedy]
        yield (which, method, num_examples, number), found


def test_recipes_are_those_of_the_record() -> None:
    rows = list(resolved())
    assert len(rows) == 2 * 7 * 3 * 13
    lines = [json.dumps([point, found], sort_keys=True) for point, found in rows]
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == RECORD


RECORD = "51d1d139c90988168390d2654476e65fed736585dcd12b3168c48c0f2e1270c9"
"""SHA-256 of them all. Where a rule has changed on purpose, write the new one here."""
