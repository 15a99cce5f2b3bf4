"""Where the automatic learning rate falls in a sweep: three data sets, adapters and all weights.

    python benchmarks/learning_rate.py DATA_FOLDER [--sets email_router,scan,geography_sql]
        [--adapters lora,full] [--multipliers 0.125,0.25,0.5,1,2,4,8] [--train 800] [--steps N]

DATA_FOLDER holds `email_router/{train,test}.jsonl`, `scan/simple_split/tasks_{train,test}_simple.txt`,
`geography_sql/geography.json` (questions with their SQL, split by question) and `dolly/*.jsonl` (fields
prompt, response); none of it is part of the project. Every run is the default recipe of the embedded base but
for the rate, which is the automatic one times each multiplier. Held-out loss is in nats per answer token;
`regret` is how much lower the best rate's is than that of the automatic one. One JSON line for each data set
and adapter goes to `benchmarks/results/learning_rate.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geography import questions

from tailor.data import Example
from tailor.models import embedded_directory, inspect, load_template
from tailor.training import (
    Learner,
    Recipe,
    StepMetrics,
    Tokenized,
    Wanted,
    make_deterministic,
    tokenize,
    train,
)

RESULTS = Path(__file__).parent / "results" / "learning_rate.jsonl"
SYSTEMS = {
    "email_router": "Sort the email into one of: invoice, order, support, spam. Answer with the word alone.",
    "scan": "Translate the command into actions.",
    "geography_sql": "Answer with a SQL query.",
    "dolly": "",
}
Pair = tuple[str, str]


def pairs_of(folder: Path, name: str) -> tuple[list[Pair], list[Pair]]:
    """(question, answer) of training and test."""
    if name == "email_router":
        found = [
            [
                (row["text"][:400], row["label"])
                for row in map(json.loads, lines(folder / name / f"{part}.jsonl"))
            ]
            for part in ("train", "test")
        ]
        return found[0], found[1]
    if name == "scan":
        found = [
            [
                (asked.removeprefix("IN: "), answer)
                for asked, _, answer in (
                    line.strip().partition(" OUT: ")
                    for line in lines(folder / name / "simple_split" / f"tasks_{part}_simple.txt")
                )
            ]
            for part in ("train", "test")
        ]
        return found[0], found[1]
    if name == "geography_sql":
        parts = questions(folder / name / "geography.json")
        return parts["train"], parts["test"]
    [path] = (folder / name).glob("*.jsonl")
    rows = [(row["prompt"], row["response"]) for row in map(json.loads, lines(path))]
    return rows[: len(rows) * 4 // 5], rows[len(rows) * 4 // 5 :]


def lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        yield from stream


def tokenized(name: str, pairs: list[Pair], max_tokens: int) -> Tokenized:
    template = load_template(embedded_directory())
    system = [{"role": "system", "content": SYSTEMS[name]}] if SYSTEMS[name] else []
    examples = [
        Example(
            line=line,
            messages=(
                *system,
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ),
        )
        for line, (asked, answer) in enumerate(pairs, start=1)
    ]
    return tokenize(examples, template, max_tokens=max_tokens)


def held_out_loss(training: Tokenized, validation: Tokenized, wanted: Wanted) -> tuple[float, Recipe]:
    base = embedded_directory()
    recipe = Recipe.auto(training.facts, inspect(base), wanted, seed=1)
    learner = Learner.open(base, recipe)
    try:
        updates = list(train(learner, training.examples))
    except Exception as error:  # a rate at which training falls apart is a result
        print(f"    {error}", flush=True)
        return float("inf"), recipe
    if not any(isinstance(update, StepMetrics) for update in updates):
        return float("inf"), recipe
    weight = sum(example.total_weight for example in validation.examples)
    return learner.evaluate(validation.examples).loss_sum / weight, recipe


def sweep(
    folder: Path, name: str, adapter: str, multipliers: list[float], given: argparse.Namespace
) -> dict[str, Any]:
    """The held-out loss at every rate, and what the automatic one loses against the best."""
    rows = pairs_of(folder, name)
    dice = random.Random(1)
    training, validation = (
        tokenized(name, dice.sample(part, min(len(part), count)), given.max_tokens)
        for part, count in zip(rows, (given.train, given.test), strict=True)
    )
    losses: dict[float, float] = {}
    begun_at = time.process_time()
    for multiplier in multipliers:
        wanted = Wanted.parse(
            {"learning_rate_multiplier": multiplier},
            {"adapter": {"type": adapter}} | ({"max_steps": given.steps} if given.steps else {}),
        )
        losses[multiplier], recipe = held_out_loss(training, validation, wanted)
        print(f"  {name} {adapter} x{multiplier:g}: {losses[multiplier]:.4f}", flush=True)
    best = min(losses, key=lambda each: losses[each])
    return {
        "set": name,
        "adapter": adapter,
        "train": len(training.examples),
        "test": len(validation.examples),
        "steps": recipe.num_steps,
        "batch_size": recipe.batch_size,
        "automatic_rate": recipe.learning_rate / multipliers[-1],
        "losses": {f"{multiplier:g}": round(loss, 4) for multiplier, loss in losses.items()},
        "best_multiplier": best,
        "regret": round(losses[1.0] - losses[best], 4),
        "cpu_seconds": round(time.process_time() - begun_at, 1),
        "processor": platform.processor() or platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", default="email_router,scan,geography_sql")
    parser.add_argument("--adapters", default="lora,full")
    parser.add_argument("--multipliers", default="0.125,0.25,0.5,1,2,4,8", help="1 must be among them")
    parser.add_argument("--train", type=int, default=800)
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--steps", type=int, default=None, help="end earlier than the default recipe")
    parser.add_argument("--max-tokens", type=int, default=256)
    given = parser.parse_args()
    make_deterministic(1)
    multipliers = [float(each) for each in given.multipliers.split(",")]
    RESULTS.parent.mkdir(exist_ok=True)
    for name in given.sets.split(","):
        for adapter in given.adapters.split(","):
            found = sweep(given.folder, name, adapter, multipliers, given)
            verdict = f"auto {found['losses']['1']}, best x{found['best_multiplier']:g}"
            print(f"{name} {adapter}: {verdict}, regret {found['regret']}", flush=True)
            with RESULTS.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
