"""How many wrong labels the losses after training name: flip some, train, look at the hardest lines.

    python benchmarks/hard_examples.py DATA_FOLDER [--rows 1500] [--epochs 1 3]

Trains on the first mails of `DATA_FOLDER/email_router/train.jsonl` with default settings, 5 % of the labels
changed at random (k). Prints the share of the changed ones among the first 2k lines of the job's loss file,
and recall and precision of the finding `hard_example`; for comparison the ranking without training. One
JSON line a measurement goes to `benchmarks/results/hard_examples.jsonl`.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import openai

from tailor.data.doctor import Diagnosis, Options, diagnose_jsonl, read_losses
from tailor.server import EmbeddedServer

RESULTS = Path(__file__).parent / "results" / "hard_examples.jsonl"
SHARE, SEED = 0.05, 7


def planted(path: Path, count: int) -> tuple[bytes, set[int]]:
    """Training data with wrong labels, and the lines that have one."""
    with path.open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream][:count]
    random = Random(SEED)
    labels = sorted({row["label"] for row in rows})
    wrong = set(random.sample(range(len(rows)), round(SHARE * len(rows))))
    for place in wrong:
        rows[place]["label"] = random.choice([each for each in labels if each != rows[place]["label"]])
    made = [
        {
            "messages": [
                {"role": "system", "content": "Answer with the label of the mail."},
                {"role": "user", "content": row["text"]},
                {"role": "assistant", "content": row["label"]},
            ]
        }
        for row in rows
    ]
    return "".join(json.dumps(row) + "\n" for row in made).encode(), {place + 1 for place in wrong}


def losses_after(client: openai.OpenAI, data: bytes, epochs: int) -> bytes:
    """The loss file of a job with so many passes."""
    file = client.files.create(file=("train.jsonl", data), purpose="fine-tune")
    job: Any = client.fine_tuning.jobs.create(
        model="tailor-mini-2",
        training_file=file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": epochs}}},
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(2)
        job = client.fine_tuning.jobs.retrieve(job.id)
    if job.status != "succeeded":
        raise SystemExit(f"the job {job.status}: {job.error}")
    names = {client.files.retrieve(file_id).filename: file_id for file_id in job.result_files}
    return client.files.content(names["example_losses.jsonl"]).read()


def report(found: Diagnosis, wrong: set[int], code: str, **told: Any) -> None:
    """Print and keep what a finding has of the wrong labels."""
    lines = next((set(each.lines) for each in found.findings if each.code == code), set())
    hit = len(lines & wrong)
    values = told | {
        "finding": code,
        "recall": round(hit / len(wrong), 4),
        "precision": round(hit / max(1, len(lines)), 4),
    }
    print(json.dumps(values), flush=True)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(values) + "\n")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=1_500)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 3])
    given = parser.parse_args()
    data, wrong = planted(given.folder / "email_router" / "train.jsonl", given.rows)
    untrained = diagnose_jsonl(io.BytesIO(data), name="train.jsonl")
    report(untrained, wrong, "suspicious_label", rows=given.rows, planted=len(wrong))
    with (
        tempfile.TemporaryDirectory() as home,
        EmbeddedServer(Path(home)) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key) as client,
    ):
        for epochs in given.epochs:
            kept = losses_after(client, data, epochs)
            ranked = [json.loads(line)["line"] for line in kept.splitlines()]
            in_first = len(wrong & set(ranked[: 2 * len(wrong)])) / len(wrong)
            losses = read_losses(io.BytesIO(kept), name="example_losses.jsonl")
            found = diagnose_jsonl(io.BytesIO(data), name="train.jsonl", options=Options(losses=losses))
            told = {"rows": given.rows, "planted": len(wrong), "epochs": epochs}
            report(found, wrong, "hard_example", **told, in_first_2k=round(in_first, 4))


if __name__ == "__main__":
    main()
