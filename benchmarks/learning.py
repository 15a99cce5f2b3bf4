"""Does each objective move a small model on real data? Base and tuned on the same held-out items, by the API.

    python benchmarks/learning.py DATA_FOLDER [--experiments scan,geography,arithmetic,opinions,harmless]

Default settings, the embedded base, one seed:

- `scan`: supervised, 2,000 commands to actions; an answer is right if it is the reference.
- `geography`: supervised, half of the questions with their SQL; then reinforcement on the other half without,
  rewarded for the rows that the query returns. Right is what returns the reference's rows.
- `arithmetic`: supervised, 1,000 sums in words; then reinforcement, three passes over 1,280 others, rewarded
  for the number.
- `opinions`: DPO on 3,600 pairs of `model_written_evals`; right if the preferred answer is the likelier one.
- `harmless`: DPO on the pairs of `hh_harmless` (offensive content); the same.

DATA_FOLDER holds the sets (its README says where from); none of it is part of the project. The sums are made
here from a seed, after the manner of gsm8k. One JSON line for each experiment and stage goes to
`benchmarks/results/learning.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base_tuning import SYSTEMS, pairs_of
from geography import rows_of
from reinforcement import train
from reward_model import SETS

from tailor.client import Endpoint, run_cases
from tailor.data import Case
from tailor.grading import paired_difference, wilson
from tailor.server import EmbeddedServer

RESULTS = Path(__file__).parent / "results" / "learning.jsonl"
BASE = "gpt-4o-mini"  # an alias for the embedded base
SCAN_SYSTEM = "Translate the command into actions."
SUM_SYSTEM = "Solve the problem. Answer with the number alone."
Row = dict[str, Any]
Right = Callable[[str, str], bool]
"""Of an answer and its reference."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One job; each goes on from the version of the one before."""

    name: str
    rows: Sequence[Row]
    method: Row
    tailor: Row


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Stages, and what all of them are measured on."""

    stages: Sequence[Stage]
    held_out: Sequence[Row] = ()
    """Conversations that end with the reference answer."""
    right: Right = str.__eq__
    max_tokens: int = 200


SUPERVISED: Row = {"type": "supervised"}


def conversation(system: str, asked: str, answer: str) -> Row:
    return {
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": asked},
            {"role": "assistant", "content": answer},
        ]
    }


def prompts(rows: Sequence[Row]) -> list[Row]:
    """Without the answers, which only the grader is shown."""
    return [{"messages": row["messages"][:2], "answer": row["messages"][2]["content"]} for row in rows]


def reinforcement(grader: Row, *, max_tokens: int, epochs: int = 1) -> tuple[Row, Row]:
    """Method and options of a reinforcement job."""
    hyperparameters = {"n_epochs": epochs, "batch_size": 16}
    method = {
        "type": "reinforcement",
        "reinforcement": {"grader": grader, "hyperparameters": hyperparameters},
    }
    return method, {"reinforcement": {"max_tokens": max_tokens}}


def scan(folder: Path) -> Experiment:
    parts = []
    for part, count in (("train", 2_000), ("test", 400)):
        text = (folder / "scan/simple_split" / f"tasks_{part}_simple.txt").read_text()
        pairs = [line.removeprefix("IN: ").partition(" OUT: ") for line in text.splitlines()]
        chosen = random.Random(1).sample(pairs, count)
        parts.append([conversation(SCAN_SYSTEM, asked, answer) for asked, _, answer in chosen])
    stage = Stage(name="supervised", rows=parts[0], method=SUPERVISED, tailor={})
    return Experiment(stages=[stage], held_out=parts[1], max_tokens=400)


def geography_sql(folder: Path) -> Experiment:
    training, test = (
        [conversation(SYSTEMS["geography_sql"], asked, answer) for asked, answer in part]
        for part in pairs_of(folder, "geography_sql")
    )
    random.Random(1).shuffle(training)
    shown, hidden = training[: len(training) // 2], training[len(training) // 2 :]
    database = folder / "geography_sql/geography-db.added-in-2020.sqlite"
    method, options = reinforcement(executing(database), max_tokens=160, epochs=4)
    rows = rows_of(database)

    def right(answer: str, reference: str) -> bool:
        return (found := rows(answer)) is not None and found == rows(reference)

    stages = [
        Stage(name="supervised", rows=shown, method=SUPERVISED, tailor={}),
        Stage(name="reinforcement", rows=prompts(hidden), method=method, tailor=options),
    ]
    return Experiment(stages=stages, held_out=test, right=right)


def executing(database: Path) -> Row:
    """A Python grader with the whole database in its source: 1 for the reference's rows."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as connection:
        script = "\n".join(connection.iterdump())
    source = f"""
import sqlite3

SCRIPT = {script!r}


def rows(query):
    connection = sqlite3.connect(":memory:")
    connection.executescript(SCRIPT)
    connection.set_progress_handler(lambda: 1, 2_000_000)
    try:
        return sorted(connection.execute(query).fetchall(), key=repr)
    except sqlite3.Error:
        return None


def grade(sample, item):
    found = rows(sample["output_text"])
    return 1.0 if found is not None and found == rows(item["answer"]) else 0.0
"""
    return {"type": "python", "name": "executed", "source": source}


def arithmetic(_: Path) -> Experiment:
    problems = list(sums(count=1_000 + 1_280 + 400))
    shown, hidden, test = problems[:1_000], problems[1_000:2_280], problems[2_280:]
    right = {
        "type": "string_check",
        "name": "right",
        "operation": "eq",
        "input": "{{ sample.output_text }}",
        "reference": "{{ item.answer }}",
    }
    method, options = reinforcement(right, max_tokens=8, epochs=3)
    stages = [
        Stage(name="supervised", rows=shown, method=SUPERVISED, tailor={}),
        Stage(name="reinforcement", rows=prompts(hidden), method=method, tailor=options),
    ]
    return Experiment(stages=stages, held_out=test, max_tokens=8)


def sums(count: int) -> Iterator[Row]:
    """Different problems of one step with small numbers."""
    dice = random.Random(1)
    names = ["Tom", "Anna", "Maria", "Ben", "Lucy", "Sam", "Ella", "Jack", "Nora", "Paul"]
    things = ["apples", "books", "coins", "shells", "pens", "stones", "cards", "eggs", "cups", "keys"]
    seen = set()
    while len(seen) < count:
        name, other = dice.sample(names, 2)
        thing = dice.choice(things)
        first, second = dice.randint(1, 9), dice.randint(1, 9)
        asked, answer = dice.choice(
            [
                (
                    f"{name} has {first} {thing} and finds {second} more. How many does {name} have?",
                    first + second,
                ),
                (f"{name} has {first} {thing} and {other} has {second}. How many together?", first + second),
                (
                    f"{name} had {first + second} {thing} and gave {other} {second}. How many are left?",
                    first,
                ),
            ]
        )
        if asked not in seen:
            seen.add(asked)
            yield conversation(SUM_SYSTEM, asked, str(answer))


def preferences(name: str, folder: Path) -> Experiment:
    stage = Stage(
        name="dpo",
        rows=list(SETS[name](folder)),
        method={"type": "dpo"},
        tailor={"hold_out": 400 if name == "model_written_evals" else 0.25},
    )
    return Experiment(stages=[stage])


EXPERIMENTS: dict[str, Callable[[Path], Experiment]] = {
    "scan": scan,
    "geography": geography_sql,
    "arithmetic": arithmetic,
    "opinions": lambda folder: preferences("model_written_evals", folder),
    "harmless": lambda folder: preferences("hh_harmless", folder),
}


def run(name: str, experiment: Experiment) -> Iterator[Row]:
    """Each stage's figures, with those of the base beside them."""
    with tempfile.TemporaryDirectory() as scratch, EmbeddedServer(home=Path(scratch) / "home") as server:
        endpoint = Endpoint(server.base_url, server.api_key)
        before = judged(endpoint, BASE, experiment)
        base, model = before, BASE
        for stage in experiment.stages:
            path = Path(scratch) / f"{stage.name}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in stage.rows))
            options = ({"hold_out": 0} if experiment.held_out else {}) | stage.tailor
            began = time.monotonic()
            model = train(endpoint, path, model, stage.method, options)
            line = {"experiment": name, "stage": stage.name, "seconds": round(time.monotonic() - began)}
            if experiment.held_out:
                after = judged(endpoint, model, experiment)
                line |= {"base": round(sum(base) / len(base), 4)} | compared(before, after)
                before = after
            else:
                line |= proven(endpoint, model)
            yield line | {"train": len(stage.rows), "processor": platform.processor() or platform.machine()}


def judged(endpoint: Endpoint, model: str, experiment: Experiment) -> list[bool]:
    """Which held-out items a model gets right."""
    if not experiment.held_out:
        return []
    cases = [
        Case(line=line, messages=tuple(row["messages"][:-1]), reference=row["messages"][-1]["content"])
        for line, row in enumerate(experiment.held_out, start=1)
    ]
    score = run_cases(endpoint, model, cases, concurrency=32, max_tokens=experiment.max_tokens)
    return [
        experiment.right(graded.actual.strip(), case.reference or "")
        for graded, case in zip(score.graded, cases, strict=True)
    ]


def compared(before: list[bool], after: list[bool]) -> Row:
    difference, interval = paired_difference(before, after), wilson(sum(after), len(after))
    pairs = list(zip(before, after, strict=True))
    return {
        "before": round(sum(before) / len(before), 4),
        "after": round(sum(after) / len(after), 4),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
        "fixed": pairs.count((False, True)),
        "broken": pairs.count((True, False)),
        "p_value": difference.p,
        "test": len(after),
    }


def proven(endpoint: Endpoint, model: str) -> Row:
    """From the proof that the job made itself."""
    proof = endpoint.proof(model)
    base, version = proof.arms["base"], proof.arms["version"]
    assert version.interval is not None
    return {
        "base": base.score,
        "before": base.score,
        "after": version.score,
        "interval": [round(version.interval.low, 4), round(version.interval.high, 4)],
        "fixed": proof.fixed,
        "broken": proof.broken,
        "p_value": proof.difference.p_value,
        "test": proof.num_items,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--experiments", default=",".join(EXPERIMENTS))
    given = parser.parse_args()
    RESULTS.parent.mkdir(exist_ok=True)
    for name in given.experiments.split(","):
        for line in run(name, EXPERIMENTS[name](given.folder)):
            print(json.dumps(line), flush=True)
            with RESULTS.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
