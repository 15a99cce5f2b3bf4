"""What rewards alone teach: a model that has seen a few examples learns on from a grader, on real mail.

    python benchmarks/reinforcement.py DATA_FOLDER [--shown 20] [--steps 80] [--tailor JSON]

DATA_FOLDER holds `email_router/{train,test}.jsonl` (fields text, label); it is not part of the project. First
a supervised job on a few mails with their labels, so that the base answers with labels at all; then a
reinforcement job goes on from it with mails that it is never shown the labels of: its answers get 1 if they
are right and 0 if not. Base, beginner and the result answer the same held-out mails. Through the API, as a
user has it. One JSON line goes to `benchmarks/results/reinforcement.jsonl`.
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

RESULTS = Path(__file__).parent / "results" / "reinforcement.jsonl"
SYSTEM = "Sort the email into one of: invoice, order, support, spam. Answer with the word alone."
RIGHT = {
    "type": "string_check",
    "name": "right",
    "operation": "eq",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
}
Row = dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shown", type=int, default=20, help="mails shown with their labels")
    parser.add_argument("--steps", type=int, default=80, help="of reinforcement, 16 mails each")
    parser.add_argument("--test", type=int, default=400, help="held-out mails")
    parser.add_argument("--tailor", type=json.loads, default={}, help="the second job's tailor object")
    arguments = parser.parse_args()
    found = json.dumps(measure(**vars(arguments)))
    print(found)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.write(found + "\n")


def measure(folder: Path, shown: int, steps: int, test: int, tailor: dict[str, object]) -> dict[str, object]:
    rows = random.Random(1).sample(rows_of(folder, "train"), shown + 16 * steps)
    held_out = random.Random(1).sample(rows_of(folder, "test"), test)
    with tempfile.TemporaryDirectory() as scratch, EmbeddedServer(home=Path(scratch) / "home") as server:
        endpoint = Endpoint(server.base_url, server.api_key)
        paths = {name: Path(scratch) / f"{name}.jsonl" for name in ("shown", "prompts", "test")}
        write(paths["shown"], map(answered, rows[:shown]))
        write(paths["prompts"], map(asked, rows[shown:]))
        write(paths["test"], map(answered, held_out))
        begun_at = time.monotonic()
        beginner = train(endpoint, paths["shown"], "gpt-4o-mini", {"type": "supervised"}, {"hold_out": 0})
        begun_second_at = time.monotonic()
        method = {
            "type": "reinforcement",
            "reinforcement": {"grader": RIGHT, "hyperparameters": {"n_epochs": 1, "batch_size": 16}},
        }
        options = {"hold_out": 0, "reinforcement": {"max_tokens": 8}} | tailor
        learned = train(endpoint, paths["prompts"], beginner, method, options)
        seconds = time.monotonic() - begun_second_at
        with paths["test"].open("rb") as stream:
            cases = read_cases(stream, name="test.jsonl").cases
        base = str((endpoint.model(learned).tailor or {})["base"])
        scores = {
            name: run_cases(endpoint, model, cases, concurrency=32, max_tokens=8)
            for name, model in (("base", base), ("beginner", beginner), ("learned", learned))
        }
    contest = Contest(model=scores["learned"], against=scores["beginner"])
    return {
        "set": "email_router",
        "shown": shown,
        "prompts": len(rows) - shown,
        "test": test,
        **{name: score.pass_rate for name, score in scores.items()},
        "learned_interval": [contest.model.interval.low, contest.model.interval.high],
        "difference_interval": [contest.difference.low, contest.difference.high],
        "p_value": contest.difference.p,
        "fixed": contest.outcomes.count("fixed"),
        "broken": contest.outcomes.count("broken"),
        "supervised_seconds": round(begun_second_at - begun_at, 1),
        "reinforcement_seconds": round(seconds, 1),
        "tailor": tailor,
        "processor": platform.processor() or platform.machine(),
    }


def rows_of(folder: Path, part: str) -> list[Row]:
    with (folder / "email_router" / f"{part}.jsonl").open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def question(row: Row) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["text"][:400]}]


def answered(row: Row) -> dict[str, object]:
    return {"messages": [*question(row), {"role": "assistant", "content": row["label"]}]}


def asked(row: Row) -> dict[str, object]:
    return {"messages": question(row), "answer": row["label"]}


def write(path: Path, rows: Iterator[dict[str, object]]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def train(
    endpoint: Endpoint, path: Path, model: str, method: dict[str, object], options: dict[str, object]
) -> str:
    """The tuned model's name."""
    wanted = JobRequest.model_validate(
        {
            "model": model,
            "training_file": endpoint.upload(path).id,
            "method": method,
            "seed": 1,
            "tailor": options,
        }
    )
    job = endpoint.start(wanted)
    for update in endpoint.follow(job.id):
        job = update.job
        for event in update.events:
            if event.type == "message" or int(event.data.get("step", 0)) % 10 == 0:
                print(" ", event.message, flush=True)
    if job.fine_tuned_model is None:
        raise SystemExit(f"{job.status}: {job.error}")
    return job.fine_tuned_model


if __name__ == "__main__":
    main()
