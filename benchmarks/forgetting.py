"""A forgetting case that is caught, on real data, through the API as a user has it.

    python benchmarks/forgetting.py DATA_FOLDER [--train N]

Mails are learned (all weights) eight times too fast: the task is learned and nearly all else is lost, so that
promotion is refused. Then the remedies, one by one: the automatic rate; general examples mixed in; an adapter
at a gentle rate. DATA_FOLDER holds `email_router/{train,test}.jsonl` (fields text, label) and `dolly/*.jsonl`
(prompt, response). One JSON line a version goes to `benchmarks/results/forgetting.jsonl`;
`docs/versions.md` is written from there.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from tailor.client import Endpoint, Registry
from tailor.errors import InvalidRequest
from tailor.protocol import JobRequest
from tailor.server import EmbeddedServer

RESULTS = Path(__file__).parent / "results" / "forgetting.jsonl"
SYSTEM = "Sort the email into one of: invoice, order, support, spam. Answer with the word alone."
LONGEST = 1_200
HARD = {"learning_rate_multiplier": 8.0, "n_epochs": 4}
FULL = {"adapter": {"type": "full"}}


def main() -> None:
    """Train hard, be refused, apply each remedy, and say what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--train", type=int, default=300, help="mails to learn from")
    parser.add_argument("--test", type=int, default=200, help="mails to prove it on")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place, EmbeddedServer(Path(place) / "home") as server:
        endpoint = Endpoint(server.base_url, server.api_key)
        folder = Path(place)
        train = endpoint.upload(mails(chosen.data, folder, "train", chosen.train)).id
        test = endpoint.upload(mails(chosen.data, folder, "test", chosen.test)).id
        general = endpoint.upload(everyday(chosen.data, folder, 2 * chosen.train)).id
        cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            "too fast": (HARD, FULL),
            "the automatic rate": ({"n_epochs": 4}, FULL),
            "a third of the rate": ({"n_epochs": 4, "learning_rate_multiplier": 0.3}, FULL),
            "the automatic rate, general examples mixed in": (
                {"n_epochs": 4},
                FULL | {"replay": {"file": general, "share": 0.3}},
            ),
            "LoRA, the automatic rate": ({"n_epochs": 4}, {}),
            "LoRA, a third of the rate": ({"n_epochs": 4, "learning_rate_multiplier": 0.3}, {}),
        }
        for name, (hyperparameters, options) in cases.items():
            line = run(endpoint, name, train, test, hyperparameters, options)
            print(json.dumps(line), flush=True)
            with RESULTS.open("a", encoding="utf-8") as out:
                out.write(json.dumps(line) + "\n")


def run(
    endpoint: Endpoint,
    name: str,
    train: str,
    test: str,
    hyperparameters: dict[str, Any],
    options: dict[str, Any],
) -> dict[str, Any]:
    """One version: what it learned, what it kept, and whether the gate lets it through."""
    started = time.monotonic()
    request = JobRequest.model_validate(
        {
            "model": "tailor-mini-2",
            "training_file": train,
            "validation_file": test,
            "seed": 7,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            "tailor": options,
        }
    )
    for update in endpoint.follow(endpoint.start(request).id):
        job = update.job
    if job.fine_tuned_model is None:
        raise SystemExit(f"{name}: the job is {job.status}: {job.error}")
    proof = endpoint.proof(job.fine_tuned_model)
    forgetting = proof.forgetting
    if forgetting is None:
        raise SystemExit(f"{name}: forgetting was not measured")
    registry = Registry(endpoint)
    try:
        registry.promote("case-" + job.id[-6:], job.fine_tuned_model)
        verdict = "promoted"
    except InvalidRequest as error:
        verdict = f"refused: {' '.join(error.details['gate']['reasons'])}"
    return {
        "case": name,
        "right": proof.arms["version"].score,
        "kept": forgetting.kept,
        "probes": {probe.name: [probe.before, probe.after, probe.kept] for probe in forgetting.probes},
        "verdict": verdict,
        "hyperparameters": hyperparameters,
        "adapter": (options.get("adapter") or {"type": "lora"})["type"],
        "items": proof.num_items,
        "seconds": round(time.monotonic() - started, 1),
    }


def mails(folder: Path, place: Path, part: str, count: int) -> Path:
    """Some labelled mails as a training file."""
    rows = [row for row in read(folder / "email_router" / f"{part}.jsonl") if len(row["text"]) < LONGEST]
    random.Random(3).shuffle(rows)
    return write(place / f"{part}.jsonl", [(SYSTEM, row["text"], row["label"]) for row in rows[:count]])


def everyday(folder: Path, place: Path, count: int) -> Path:
    """General questions and answers that people wrote."""
    [path] = sorted((folder / "dolly").glob("*.jsonl"))[:1]
    rows = []
    for row in read(path):
        asked = row["prompt"].partition("### Instruction:")[2].partition("### Response:")[0].strip()
        if asked and 20 < len(row["response"]) < 400:
            rows.append((None, asked, row["response"].strip()))
    random.Random(3).shuffle(rows)
    return write(place / "general.jsonl", rows[:count])


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def write(path: Path, rows: list[tuple[str | None, str, str]]) -> Path:
    with path.open("w", encoding="utf-8") as stream:
        for system, asked, answer in rows:
            messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
            if system is not None:
                messages.insert(0, {"role": "system", "content": system})
            stream.write(json.dumps({"messages": messages}) + "\n")
    return path


if __name__ == "__main__":
    main()
