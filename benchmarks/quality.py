"""Tuned against base on real held-out data, with default settings, through the API as a user has it.

    python benchmarks/quality.py DATA_FOLDER [--set email_router|clinc150] [--train N] [--tailor JSON]

DATA_FOLDER holds `email_router/{train,test}.jsonl` (fields text, label) and `clinc150/data_full.json`
(lists of [text, intent]). Neither is part of the project. One JSON line a set goes to
`benchmarks/results/quality.jsonl`; `docs/results.md` is written from there.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tailor.client import Contest, Endpoint, run_cases
from tailor.data import read_cases
from tailor.protocol import JobRequest
from tailor.server import EmbeddedServer

RESULTS = Path(__file__).parent / "results" / "quality.jsonl"
SYSTEM = {
    "email_router": "Sort the email into one of: invoice, order, support, spam. Answer with the word alone.",
    "clinc150": "Name the intent of the request.",
}
Row = tuple[str, str]


def rows_of(folder: Path, name: str) -> tuple[list[Row], list[Row]]:
    """(text, label) of training and test."""
    if name == "clinc150":
        data = json.loads((folder / name / "data_full.json").read_text())
        return [tuple(row) for row in data["train"]], [tuple(row) for row in data["test"]]
    return tuple(  # type: ignore[return-value]
        [(row["text"], row["label"]) for row in map(json.loads, lines(folder / name / f"{part}.jsonl"))]
        for part in ("train", "test")
    )


def lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        yield from stream


def write(path: Path, system: str, rows: list[Row]) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        for text, label in rows:
            messages = [
                {"role": "system", "content": system},
                {"role": "user", "content": text},
                {"role": "assistant", "content": label},
            ]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return path


def tune(
    endpoint: Endpoint, training: Path, suffix: str, options: dict[str, object]
) -> tuple[str, float, dict[str, object]]:
    """The tuned model's name, the job's seconds, and its resolved hyperparameters."""
    started = time.monotonic()
    uploaded = endpoint.upload(training)
    wanted = JobRequest(
        model="gpt-4o-mini",
        training_file=uploaded.id,
        suffix=suffix,
        seed=1,
        tailor={"hold_out": 0} | options,
    )
    job = endpoint.start(wanted)
    for update in endpoint.follow(job.id):
        job = update.job
        for event in update.events:
            if event.type == "message" or int(event.data.get("step", 0)) % 100 == 0:
                print(" ", event.message, flush=True)
    if job.fine_tuned_model is None:
        raise SystemExit(f"{job.status}: {job.error}")
    return job.fine_tuned_model, time.monotonic() - started, job.hyperparameters


def measure(folder: Path, name: str, size: int | None, options: dict[str, object]) -> dict[str, object]:
    training, test = rows_of(folder, name)
    if size is not None:
        training = random.Random(1).sample(training, size)
    with tempfile.TemporaryDirectory() as scratch, EmbeddedServer(home=Path(scratch) / "home") as server:
        endpoint = Endpoint(server.base_url, server.api_key)
        model, seconds, hyperparameters = tune(
            endpoint,
            write(Path(scratch) / "train.jsonl", SYSTEM[name], training),
            name.replace("_", "-"),
            options,
        )
        with write(Path(scratch) / "test.jsonl", SYSTEM[name], test).open("rb") as stream:
            cases = read_cases(stream, name="test.jsonl").cases
        base = str((endpoint.model(model).tailor or {})["base"])
        contest = Contest(
            model=run_cases(endpoint, model, cases, concurrency=32, max_tokens=24),
            against=run_cases(endpoint, base, cases, concurrency=32, max_tokens=24),
        )
    difference = contest.difference
    return {
        "set": name,
        "train": len(training),
        "test": len(test),
        "base": contest.against.pass_rate,
        "tuned": contest.model.pass_rate,
        "tuned_interval": [contest.model.interval.low, contest.model.interval.high],
        "difference_interval": [difference.low, difference.high],
        "p_value": difference.p,
        "fixed": contest.outcomes.count("fixed"),
        "broken": contest.outcomes.count("broken"),
        "job_seconds": round(seconds, 1),
        "hyperparameters": hyperparameters,
        "tailor": options,
        "processor": platform.processor() or platform.machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", choices=sorted(SYSTEM), action="append")
    parser.add_argument("--train", type=int, help="seeded sample of the training rows; all by default")
    parser.add_argument("--tailor", type=json.loads, default={}, help="the job's tailor object, as JSON")
    arguments = parser.parse_args()
    for name in arguments.set or sorted(SYSTEM):
        found = json.dumps(measure(arguments.folder, name, arguments.train, arguments.tailor))
        print(found)
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(found + "\n")


if __name__ == "__main__":
    main()
