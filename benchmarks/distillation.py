"""What a student learns from a teacher without a single label, on real mail.

    python benchmarks/distillation.py DATA_FOLDER [--labelled 600] [--unlabelled 1280]

DATA_FOLDER holds `email_router/{train,test}.jsonl` (fields text, label); it is not part of the project. The
teacher is the embedded base with all its weights trained on labelled mails. Students are LoRA adapters on
the base, trained on other mails without their labels: from the teacher's logits on the student's own
answers, from its logits on the teacher's answers, and from the answers alone. Base, teacher and students
answer the same held-out mails. Through the API, as a user has it. One JSON line goes to
`benchmarks/results/distillation.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import tempfile
import time
from pathlib import Path

from reinforcement import answered, question, rows_of, train, write

from tailor.client import Contest, Endpoint, run_cases
from tailor.data import read_cases
from tailor.server import EmbeddedServer

RESULTS = Path(__file__).parent / "results" / "distillation.jsonl"
STUDENTS: dict[str, dict[str, object]] = {
    "logits_own_answers": {"own_share": 1.0},
    "logits_teachers_answers": {"own_share": 0.0},
    "answers": {"signal": "answers"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labelled", type=int, default=600, help="mails that the teacher learns from")
    parser.add_argument("--unlabelled", type=int, default=1280, help="mails that the students learn from")
    parser.add_argument("--test", type=int, default=400, help="held-out mails")
    parser.add_argument("--students", type=lambda text: text.split(","), default=[*STUDENTS])
    parser.add_argument("--beta", type=float, default=0.0, help="of the students that learn from logits")
    arguments = parser.parse_args()
    found = json.dumps(measure(**vars(arguments)))
    print(found)
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.write(found + "\n")


def measure(
    folder: Path, labelled: int, unlabelled: int, test: int, students: list[str], beta: float
) -> dict[str, object]:
    rows = random.Random(1).sample(rows_of(folder, "train"), labelled + unlabelled)
    held_out = random.Random(1).sample(rows_of(folder, "test"), test)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch, EmbeddedServer(home=Path(scratch) / "home") as server:
        endpoint = Endpoint(server.base_url, server.api_key)
        paths = {name: Path(scratch) / f"{name}.jsonl" for name in ("labelled", "prompts", "test")}
        write(paths["labelled"], map(answered, rows[:labelled]))
        write(paths["prompts"], ({"messages": question(row)} for row in rows[labelled:]))
        write(paths["test"], map(answered, held_out))
        full = {"hold_out": 0, "adapter": {"type": "full"}}
        begun_at = time.monotonic()
        teacher = train(endpoint, paths["labelled"], "gpt-4o-mini", {"type": "supervised"}, full)
        seconds["teacher"] = time.monotonic() - begun_at
        models = {"base": str((endpoint.model(teacher).tailor or {})["base"]), "teacher": teacher}
        hyperparameters = {"n_epochs": 2, "batch_size": 16}
        for name in students:
            options = STUDENTS[name] | ({} if name == "answers" else {"beta": beta})
            method = {
                "type": "distillation",
                "distillation": {"teacher": teacher, "hyperparameters": hyperparameters},
            }
            wanted = {"hold_out": 0, "distillation": {"max_tokens": 8} | options}
            begun_at = time.monotonic()
            models[name] = train(endpoint, paths["prompts"], "gpt-4o-mini", method, wanted)
            seconds[name] = time.monotonic() - begun_at
        with paths["test"].open("rb") as stream:
            cases = read_cases(stream, name="test.jsonl").cases
        scores = {
            name: run_cases(endpoint, model, cases, concurrency=32, max_tokens=8)
            for name, model in models.items()
        }
    contests = {name: Contest(model=scores[name], against=scores["teacher"]) for name in students}
    return {
        "set": "email_router",
        "labelled": labelled,
        "unlabelled": unlabelled,
        "test": test,
        "beta": beta,
        **{name: score.pass_rate for name, score in scores.items()},
        "against_teacher": {
            name: [contest.difference.mean, contest.difference.low, contest.difference.high]
            for name, contest in contests.items()
        },
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "processor": platform.processor() or platform.machine(),
    }


if __name__ == "__main__":
    main()
