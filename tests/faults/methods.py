"""A small job of every method and every kind of adapter, for the programme of kills."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tailor.store import Job, JobSpec, Store
from tests.faults.scene import BASE, TENANT, add_base, add_job
from tests.models.tiny import tiny_directory

TEACHER = "teacher"
LIKENESS = {
    "type": "text_similarity",
    "name": "likeness",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "evaluation_metric": "fuzzy_match",
}
ADAPTERS: dict[str, dict[str, Any]] = {
    "full": {"adapter": {"type": "full"}},
    "dora": {"adapter": {"type": "dora", "rank": 4, "dropout": 0.1}},
    "ia3": {"adapter": {"type": "ia3"}},
    "bottleneck": {"adapter": {"type": "bottleneck", "size": 8, "dropout": 0.1}},
    "prefix": {"adapter": {"type": "prefix", "num_virtual_tokens": 4}},
    "int8": {"quantization": "int8"},
    "nf4": {"quantization": "nf4"},
    "early stopping": {"early_stopping": {"patience": 4, "every_steps": 3}, "learning_rate": 0.02},
    "averaging": {"average_share": 0.5},
}


def _rows(make: Callable[[int], dict[str, Any]], count: int = 42) -> bytes:
    return b"".join(json.dumps(make(number)).encode() + b"\n" for number in range(count))


def _asked(number: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": f"Say the word {number}."}]


def _pair(number: int) -> dict[str, Any]:
    return {
        "input": {"messages": _asked(number)},
        "preferred_output": [{"role": "assistant", "content": f"gladly, {number}"}],
        "non_preferred_output": [{"role": "assistant", "content": "no"}],
    }


def _prompt(number: int) -> dict[str, Any]:
    return {"messages": _asked(number), "answer": f"the word {number}"}


def _lesson(number: int) -> dict[str, Any]:
    return {"messages": [*_asked(number), {"role": "assistant", "content": f"the word {number}"}]}


def _text(number: int) -> dict[str, Any]:
    return {"text": f"Once there was a number, and it was {number}. " * 3}


METHODS: dict[str, tuple[bytes, dict[str, Any], dict[str, Any]]] = {
    "dpo": (_rows(_pair), {"type": "dpo"}, {}),
    "reward_model": (_rows(_pair), {"type": "reward_model"}, {}),
    "kto": (_rows(lambda n: _lesson(n) | {"label": n % 2 == 0}), {"type": "kto"}, {}),
    "text": (_rows(_text), {"type": "text"}, {}),
    "reinforcement": (
        _rows(_prompt),
        {"type": "reinforcement", "reinforcement": {"grader": LIKENESS}},
        {"reinforcement": {"group_size": 3, "max_tokens": 5}},
    ),
    "reinforcement with kl": (
        _rows(_prompt),
        {"type": "reinforcement", "reinforcement": {"grader": LIKENESS}},
        {"reinforcement": {"group_size": 3, "max_tokens": 5, "kl": 0.05, "updates_per_batch": 2}},
    ),
    "distillation": (
        _rows(_lesson),
        {"type": "distillation", "distillation": {"teacher": TEACHER}},
        {"distillation": {"max_tokens": 5}},
    ),
    "distillation on own answers": (
        _rows(_lesson),
        {"type": "distillation", "distillation": {"teacher": TEACHER}},
        {"distillation": {"max_tokens": 5, "own_share": 0.5}},
    ),
}
KINDS = ("lora", *ADAPTERS, "replay", *METHODS)


def add_kind(store: Store, kind: str, directory: Path) -> Job:
    """A job of this kind, of at least 24 steps with a save every five."""
    if kind in METHODS:
        return _of_method(store, kind, directory)
    if kind == "replay":
        file = store.files.add(
            TENANT,
            data=_rows(lambda n: {"messages": [*_asked(n), {"role": "assistant", "content": "general"}]}, 12),
            filename="general.jsonl",
            purpose="fine-tune",
        )
        return add_job(store, replay={"file": file.id, "share": 0.2})
    return add_job(store, **ADAPTERS.get(kind, {}))


def _of_method(store: Store, kind: str, directory: Path) -> Job:
    rows, method, options = METHODS[kind]
    if method["type"] == "distillation":
        add_base(store, tiny_directory(directory / "teacher", "qwen3", vocab_size=8192), TEACHER)
    asked = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": "auto"}
    part = {"hyperparameters": asked} | method.get(method["type"], {})
    file = store.files.add(TENANT, data=rows, filename=f"{method['type']}.jsonl", purpose="fine-tune")
    return store.jobs.add(
        TENANT,
        JobSpec(
            requested_model=BASE,
            base=BASE,
            training_file=file.id,
            seed=11,
            suffix="kills",
            method={"type": method["type"], method["type"]: part},
            hyperparameters=asked,
            options={
                "hold_out": 6,
                "checkpoint_every_steps": 5,
                "adapter": {"type": "lora", "rank": 4},
                "dtype": "float32",
            }
            | options,
        ),
    )
