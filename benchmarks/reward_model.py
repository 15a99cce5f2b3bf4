"""How well a small model learns to judge: held-out pairs of real preferences, base against reward model.

    python benchmarks/reward_model.py DATA_FOLDER [--set model_written_evals|hh_harmless] [--epochs 3]

DATA_FOLDER holds `model_written_evals/*.jsonl` (yes or no to statements of four traits) and
`hh_harmless/*.jsonl.gz` (fields chosen, rejected; offensive content); neither is part of the project. A
quarter of the pairs, at most 400, is held out. The base prefers the answer that it finds likelier per token.
Default recipe of the embedded base but for the epochs. One JSON line goes to
`benchmarks/results/reward_model.jsonl`.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tailor.data import hold_out, read_preferences
from tailor.models import embedded_directory, inspect, load_template
from tailor.training import (
    Learner,
    Recipe,
    StepMetrics,
    Wanted,
    make_deterministic,
    mean_log_likelihoods,
    tokenize_preferences,
    train,
)

RESULTS = Path(__file__).parent / "results" / "reward_model.jsonl"
Message = dict[str, str]


def written_evals(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / "model_written_evals").glob("*.jsonl")):
        with path.open(encoding="utf-8") as stream:
            for row in map(json.loads, stream):
                yield pair_of(
                    [{"role": "user", "content": row["question"]}],
                    row["answer_matching_behavior"].strip(),
                    row["answer_not_matching_behavior"].strip(),
                )


def harmless(folder: Path) -> Iterator[dict[str, Any]]:
    """Pairs whose conversations are the same but for the last answer."""
    for path in sorted((folder / "hh_harmless").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for row in map(json.loads, stream):
                better, worse = turns_of(row["chosen"]), turns_of(row["rejected"])
                if better[:-1] == worse[:-1] and better != worse and ends_well(better) and ends_well(worse):
                    yield pair_of(better[:-1], better[-1]["content"], worse[-1]["content"])


def turns_of(text: str) -> list[Message]:
    turns = []
    for part in text.split("\n\nHuman: ")[1:]:
        asked, _, answer = part.partition("\n\nAssistant: ")
        turns.append({"role": "user", "content": asked.strip()})
        if answer.strip():
            turns.append({"role": "assistant", "content": answer.strip()})
    return turns


def ends_well(turns: list[Message]) -> bool:
    return bool(turns) and turns[-1]["role"] == "assistant"


def pair_of(asked: list[Message], better: str, worse: str) -> dict[str, Any]:
    return {
        "input": {"messages": asked},
        "preferred_output": [{"role": "assistant", "content": better}],
        "non_preferred_output": [{"role": "assistant", "content": worse}],
    }


SETS = {"model_written_evals": written_evals, "hh_harmless": harmless}


def measure(folder: Path, name: str, epochs: int) -> dict[str, Any]:
    rows = b"".join(json.dumps(row).encode() + b"\n" for row in SETS[name](folder))
    dataset = read_preferences(io.BytesIO(rows), name=name)
    parts = hold_out(dataset, share=0.25, maximum=400, seed=1)
    base = embedded_directory()
    template = load_template(base)
    training, held_out = (tokenize_preferences(part.examples, template, max_tokens=512) for part in parts)
    recipe = Recipe.auto(
        training.facts, inspect(base), Wanted(num_epochs=epochs), seed=1, method="reward_model"
    )
    make_deterministic(1)
    learner = Learner.open(base, recipe)
    likely = mean_log_likelihoods(learner.loaded, held_out.examples)
    begun_at = time.process_time()
    right = []
    for update in train(learner, training.examples, validation=held_out.examples):
        if isinstance(update, StepMetrics) and update.full_valid_loss is not None:
            right.append([update.full_valid_mean_token_accuracy, round(update.full_valid_loss, 4)])
            print(f"  epoch {update.epoch}: {right[-1]}", flush=True)
    return {
        "set": name,
        "train": len(training.examples),
        "test": len(held_out.examples),
        "base_by_likelihood": sum(better > worse for better, worse in likely) / len(likely),
        "right_and_loss_by_epoch": right,
        "cpu_seconds": round(time.process_time() - begun_at, 1),
        "processor": platform.processor() or platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=sorted(SETS), default="model_written_evals")
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    found = json.dumps(measure(given.folder, given.set, given.epochs))
    print(found)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.write(found + "\n")


if __name__ == "__main__":
    main()
