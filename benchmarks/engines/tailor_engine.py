"""tailor: `Learner`, with the settings that a job has.

Settings: `auto` (arithmetic in the type that tailor finds faster here), `float32`, `plain` (float32, each
example computed by itself with transformers' own attention: the reference to be exact against).
"""

from __future__ import annotations

import time
from typing import Any

import torch
from common import LEARNING_RATE, Prepared, Row, main

from tailor.models import native_dtype
from tailor.training import Learner, Recipe, TokenizedExample, TokenizedPair, make_deterministic
from tailor.training.exploration import Exploration
from tailor.training.reinforcement import Rollout, token_weight, total_weight
from tailor.training.selfcheck import switch_to_plain

MAX_ANSWER = 160


def learner_of(job: Row, setting: str, **changes: Any) -> Learner:
    make_deterministic(1)
    recipe = Recipe(
        num_epochs=1, batch_size=job["batch_size"], num_steps=4, learning_rate=LEARNING_RATE,
        dtype=native_dtype() if setting == "auto" else "float32", adapter=job["adapter"],
        max_context_tokens=1024, checkpoint_every_steps=4, **changes,
    )  # fmt: skip
    learner = Learner.open(job["base"], recipe)
    if setting == "plain":
        switch_to_plain(learner.loaded)
    return learner


def start_from(learner: Learner, file: str | None) -> None:
    if file is None:
        return
    from safetensors.torch import load_file

    start = load_file(file)
    with torch.no_grad():
        for name, master in learner.masters.items():
            master.copy_(start[name.replace(".default", "").removeprefix("base_model.model.")])
    learner._publish_masters()


def example(line: int, prompt: list[int], answer: list[int]) -> TokenizedExample:
    weights = torch.tensor([0.0] * len(prompt) + [1.0] * len(answer))
    return TokenizedExample(
        line=line, fingerprint=f"{line}", ids=torch.tensor(prompt + answer), weights=weights
    )


def prepared(learner: Learner, items: dict[str, Any], seconds: float = 0.0) -> Prepared:
    """`items` by the text of their rows, so that no time is counted for making them."""
    count = 0

    def step(rows: list[Row]) -> float:
        nonlocal count
        batch = [items[key_of(row)] for row in rows]
        result = learner.forward_backward(batch, step=count)
        learner.step(LEARNING_RATE, gradient_norm=result.gradient_norm)
        count += 1
        return result.loss

    return Prepared(step=step, seconds_before=seconds)


def key_of(row: Row) -> str:
    return str(row["prompt"]) + str(row.get("answer") or row["chosen"])


def supervised(job: Row, setting: str, rows: list[Row]) -> Prepared:
    learner = learner_of(job, setting)
    start_from(learner, job["start"])
    examples = [example(line, row["prompt"], row["answer"]) for line, row in enumerate(rows, 1)]
    return prepared(learner, dict(zip(map(key_of, rows), examples, strict=True)))


def preferences(job: Row, setting: str, rows: list[Row]) -> Prepared:
    learner = learner_of(job, setting, method="dpo", beta=0.1)
    pairs = [
        TokenizedPair(
            line=line,
            fingerprint=f"{line}",
            preferred=example(line, row["prompt"], row["chosen"]),
            rejected=example(line, row["prompt"], row["rejected"]),
        )
        for line, row in enumerate(rows, 1)
    ]
    begun = time.process_time()
    learner.measure_reference(pairs[: job["batch_size"]] if job["is_exact"] else pairs)
    seconds = time.process_time() - begun
    start_from(learner, job["start"])
    return prepared(learner, dict(zip(map(key_of, rows), pairs, strict=True)), seconds)


def reinforcement(job: Row, setting: str, rows: list[Row]) -> Prepared:
    is_exact = job["is_exact"]
    exploration = Exploration(loss="dr_grpo", max_tokens=MAX_ANSWER, num_updates=2 if is_exact else 1)
    learner = learner_of(job, setting, method="reinforcement", exploration=exploration)
    start_from(learner, job["start"])
    rollouts = [
        Rollout(
            example=example(line, row["prompt"], row["answer"]),
            advantage=row["advantage"],
            token_weight=token_weight("dr_grpo", len(row["answer"]), MAX_ANSWER),
            total_weight=total_weight("dr_grpo", len(row["answer"])),
            before_N=torch.tensor(row["old"], dtype=torch.double) if is_exact else None,
        )
        for line, row in enumerate(rows, 1)
    ]
    return prepared(learner, dict(zip(map(key_of, rows), rollouts, strict=True)))


if __name__ == "__main__":
    main({"sft": supervised, "dpo": preferences, "grpo": reinforcement})
