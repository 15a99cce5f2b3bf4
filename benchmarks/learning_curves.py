"""Do forecasts of the learning curve come true on real data? A quarter of the data is to foretell all of it.

    python benchmarks/learning_curves.py DATA

DATA is the folder of real data sets (its README says which). Two quick classifiers learn each task at nested
sizes; the curve is fitted to four sizes up to a quarter, and held against the quality at all of the data. How
a language model's curves look is another matter: this shows the fit, not the training.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.svm import LinearSVC

from tailor.grading import Point, learning_curve

Rows = list[tuple[str, str]]
"""Texts and labels."""

_FEWEST = 20
_MOST_HELD_OUT = 1_000


def jsonl(path: Path, text: str, label: str) -> Rows:
    rows = map(json.loads, path.read_text(encoding="utf-8").strip().split("\n"))
    return [(row[text], row[label]) for row in rows]


def split(rows: Rows) -> tuple[Rows, Rows]:
    random.Random(0).shuffle(rows)
    return rows[len(rows) // 5 :], rows[: len(rows) // 5]


def snips(data: Path, name: str) -> Rows:
    found = []
    for path in sorted(data.glob(f"snips_slots/*/{name}")):
        intent = path.parent.name
        rows = json.loads(path.read_text(encoding="latin-1"))[intent]
        found += [("".join(part["text"] for part in row["data"]), intent) for row in rows]
    return found


def tasks(data: Path) -> Iterator[tuple[str, Rows, Rows]]:
    mails = data / "email_router"
    yield "email_router", *(jsonl(mails / f"{part}.jsonl", "text", "label") for part in ("train", "test"))
    for column in ("intent", "category"):
        parts = []
        for part in ("train", "test"):
            [path] = (data / "bitext_support_intents/data" / part).glob("*.csv")
            with path.open(encoding="utf-8-sig", newline="") as stream:
                parts.append([(row["utterance"], row[column]) for row in csv.DictReader(stream)])
        yield f"bitext, {column}", parts[0], parts[1]
    clinc = json.loads((data / "clinc150/data_full.json").read_text(encoding="utf-8"))
    yield "clinc150", [tuple(row) for row in clinc["train"]], [tuple(row) for row in clinc["test"]]
    lines = (data / "sms_spam/SMSSpamCollection").read_text(encoding="utf-8").strip().split("\n")
    labelled = [line.split("\t", 1) for line in lines]
    yield "sms_spam", *split([(text, label) for label, text in labelled])
    yield "snips", snips(data, "train_*_full.json"), snips(data, "validate_*.json")
    for trait in ("agreeableness", "risk-averse"):
        path = data / "model_written_evals" / f"{trait}.jsonl"
        yield trait, *split(jsonl(path, "statement", "answer_matching_behavior"))


def measure(learner: str, train: Rows, held_out: Rows) -> float:
    texts = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    model = LinearSVC() if learner == "linear" else MultinomialNB(alpha=0.05)
    model.fit(texts.fit_transform([text for text, _ in train]), [label for _, label in train])
    answers = model.predict(texts.transform([text for text, _ in held_out]))
    return float((answers == np.array([label for _, label in held_out])).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    asked = parser.parse_args()
    forecasts = []
    for name, train, held_out in tasks(asked.data):
        random.Random(1).shuffle(train)
        random.Random(2).shuffle(held_out)
        held_out = held_out[:_MOST_HELD_OUT]
        sizes = [len(train) // 2**power for power in range(6, -1, -1) if len(train) // 2**power >= _FEWEST]
        for learner in ("linear", "bayes"):
            seen = {size: measure(learner, train[:size], held_out) for size in sizes}
            points = [Point(size=size, quality=seen[size], items=len(held_out)) for size in sizes[-6:-2]]
            curve = learning_curve(points)
            found, true = curve.at(sizes[-1], items=len(held_out)), seen[sizes[-1]]
            row = {
                "task": name,
                "learner": learner,
                "items": len(held_out),
                "measured": {size: round(quality, 4) for size, quality in seen.items()},
                "forecast": round(found.value, 4),
                "low": round(found.low, 4),
                "high": round(found.high, 4),
                "within_3_points": abs(found.value - true) <= 0.03,
                "in_interval": found.low <= true <= found.high,
            }
            forecasts.append(row)
            print(json.dumps(row), flush=True)
    print(
        f"{len(forecasts)} forecasts, {sum(row['within_3_points'] for row in forecasts)} within 3 points, "
        f"{sum(row['in_interval'] for row in forecasts)} in their interval"
    )


if __name__ == "__main__":
    main()
