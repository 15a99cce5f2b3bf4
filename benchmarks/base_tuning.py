"""What a base learns from few and many examples, against words alone and against no pre-training.

    python benchmarks/base_tuning.py DATA_FOLDER MODEL_DIRECTORY [MODEL_DIRECTORY ...]
        [--sets email_router,clinc150,geography_sql] [--sizes 100,300,1000,3000,all] [--threads 2]

DATA_FOLDER holds `email_router`, `clinc150` and `geography_sql` (its README says where from); none of it is
part of the project. The untrained twin of the first model (same shape, seeded) and TF-IDF with logistic
regression learn the same seeded rows. An answer is right if every token of it and its end is the likeliest
one, which is when greedy decoding writes it; SQL is also executed (`executed`: it returns the reference's
rows). One JSON line for each model, set and size goes to `benchmarks/results/base_tuning.jsonl`; what stands
there already is not measured again, so a run that was ended goes on. `--table` prints what there is.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geography import questions, rows_of

from tailor.data import Example
from tailor.grading import wilson
from tailor.inference import GenerationRequest, ModelKey, SamplingParameters, Writer
from tailor.models import inspect, load_template, twin_of
from tailor.models.creation import BaseShape, create_base
from tailor.training import (
    Learner,
    Recipe,
    StepMetrics,
    Tokenized,
    Wanted,
    make_deterministic,
    score,
    tokenize,
    train,
)

RESULTS = Path(__file__).parent / "results" / "base_tuning.jsonl"
SYSTEMS = {
    "email_router": "Sort the email into one of: invoice, order, support, spam. Answer with the word alone.",
    "clinc150": "Name the intent of the request.",
    "geography_sql": "Write the SQL query that answers the question.",
}
LINEAR = "TF-IDF + logistic regression"
MAX_TOKENS = 512
Pair = tuple[str, str]


def pairs_of(folder: Path, name: str) -> tuple[list[Pair], list[Pair]]:
    """(question, answer) of training and test."""
    if name == "clinc150":
        data = json.loads((folder / name / "data_full.json").read_text())
        return [tuple(row) for row in data["train"]], [tuple(row) for row in data["test"]]
    if name == "geography_sql":
        parts = questions(folder / name / "geography.json")
        return parts["train"] + parts["dev"], parts["test"]
    found = []
    for part in ("train", "test"):
        with (folder / name / f"{part}.jsonl").open(encoding="utf-8") as stream:
            found.append([(row["text"], row["label"]) for row in map(json.loads, stream)])
    return found[0], found[1]


def examples_of(name: str, pairs: Sequence[Pair]) -> list[Example]:
    return [
        Example(
            line=line,
            messages=(
                {"role": "system", "content": SYSTEMS[name]},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ),
        )
        for line, (asked, answer) in enumerate(pairs, start=1)
    ]


def tuned(base: Path, training: Tokenized, seed: int) -> tuple[Learner, Recipe]:
    """A base after the default recipe."""
    recipe = Recipe.auto(training.facts, inspect(base), Wanted.parse({}, {}), seed=seed)
    learner = Learner.open(base, recipe)
    for update in train(learner, training.examples):
        if isinstance(update, StepMetrics) and update.step % 200 == 0:
            print(f"    step {update.step}/{update.total_steps}: {update.train_loss:.3f}", flush=True)
    return learner, recipe


def measured(base: Path, name: str, training: list[Pair], test: list[Pair], folder: Path) -> dict[str, Any]:
    """Test accuracy of one base after tuning."""
    template = load_template(base)
    began = time.process_time()
    made = tokenize(examples_of(name, training), template, max_tokens=MAX_TOKENS)
    learner, recipe = tuned(base, made, seed=1)
    held = tokenize(examples_of(name, test), template, max_tokens=MAX_TOKENS)
    scores = score(learner.loaded, held.examples)
    right = sum(each.num_correct == each.num_tokens for each in scores)
    found = summary(right, len(test)) | {
        "steps": recipe.num_steps,
        "cpu_seconds": round(time.process_time() - began),
    }
    if name == "geography_sql":
        wrote = answers(learner, name, [asked for asked, _ in test])
        rows = rows_of(folder / name / "geography-db.added-in-2020.sqlite")
        wanted = [rows(answer) for _, answer in test]
        same = sum(
            rows(ours) == their for ours, their in zip(wrote, wanted, strict=True) if their is not None
        )
        found["executed"] = round(same / len(test), 4)
    return found


def summary(right: int, count: int) -> dict[str, Any]:
    interval = wilson(right, count)
    return {
        "right": round(right / count, 4),
        "interval": [round(interval.low, 4), round(interval.high, 4)],
        "test": count,
    }


def answers(learner: Learner, name: str, questions: list[str]) -> list[str]:
    """What the model writes, greedily."""
    loaded = learner.loaded
    writer = Writer(twin_of(loaded), context_length=MAX_TOKENS)
    parameters = SamplingParameters(max_tokens=200, temperature=0.0)
    requests = []
    for asked in questions:
        messages = [{"role": "system", "content": SYSTEMS[name]}, {"role": "user", "content": asked}]
        ids = tuple(loaded.template.render(messages, add_generation_prompt=True).ids)
        requests.append(
            GenerationRequest(model=ModelKey(base=loaded.digest), prompt_ids=ids, parameters=parameters)
        )
    return [answer.text for (answer,) in writer.write(requests)]


def linear(training: list[Pair], test: list[Pair]) -> dict[str, Any]:
    """Words, pairs of words, logistic regression."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    began = time.process_time()
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=30, max_iter=1_000)
    )
    model.fit([asked for asked, _ in training], [answer for _, answer in training])
    told = model.predict([asked for asked, _ in test])
    right = sum(one == answer for one, (_, answer) in zip(told, test, strict=True))
    return summary(right, len(test)) | {"cpu_seconds": round(time.process_time() - began)}


def untrained_twin(base: Path, directory: Path) -> Path:
    """The same shape and tokenizer with seeded random weights."""
    config = json.loads((base / "config.json").read_text())
    for path in base.iterdir():
        if path.suffix != ".safetensors" and path.is_file():
            shutil.copyfile(path, directory / path.name)
    shape = BaseShape(
        num_layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        mlp_size=config["intermediate_size"],
        num_heads=config["num_attention_heads"],
        num_key_heads=config["num_key_value_heads"],
        context_length=config["max_position_embeddings"],
        vocab_size=config["vocab_size"],
    )
    create_base(directory, shape, seed=1)
    return directory


def known() -> dict[tuple[str, str, str], dict[str, Any]]:
    """Rows of the results by model, set and size."""
    rows = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    return {(row["model"], row["set"], row["size"]): row for row in rows}


def print_table() -> None:
    """What there is, as Markdown: a row for each set and size, a column for each model."""
    rows = known()
    models = list(dict.fromkeys(model for model, _, _ in rows))
    cells = dict.fromkeys((name, size, row["train"]) for (_, name, size), row in rows.items())
    print(f"| set | learned from | {' | '.join(models)} |")
    print("|---" * (len(models) + 2) + "|")
    for name, size, count in sorted(cells, key=lambda cell: (cell[0], cell[2])):
        found = (cell_text(rows.get((model, name, size))) for model in models)
        print(f"| {name} | {count:,} | {' | '.join(found)} |")


def cell_text(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    low, high = row["interval"]
    executed = f"; executed {row['executed']:.1%}" if "executed" in row else ""
    return f"{row['right']:.1%} ({low:.1%} to {high:.1%}){executed}".replace("%", " %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("models", type=Path, nargs="*")
    parser.add_argument("--sets", default=",".join(SYSTEMS))
    parser.add_argument("--sizes", default="100,300,1000,3000,all")
    parser.add_argument("--without-twin", action="store_true", help="leave the untrained twin out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    make_deterministic(given.threads)
    if given.table or given.folder is None:
        print_table()
        return
    RESULTS.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        learners: dict[str, Path | None] = {LINEAR: None}
        for number, base in enumerate(given.models):
            learners[inspect(base).digest[:12]] = base
            if number == 0 and not given.without_twin:
                twin = f"untrained, {inspect(base).num_layers} layers"
                learners[twin] = untrained_twin(base, Path(scratch))
        for name in given.sets.split(","):
            training, test = pairs_of(given.folder, name)
            for size in given.sizes.split(","):
                count = len(training) if size == "all" else int(size)
                rows = random.Random(1).sample(training, min(count, len(training)))
                for model, base in learners.items():
                    if count > len(training) or (model, name, size) in known():
                        continue
                    if base is None and name == "geography_sql":
                        continue  # nearly every query is a class of its own
                    print(f"{name} {size}: {model}", flush=True)
                    found = measured(base, name, rows, test, given.folder) if base else linear(rows, test)
                    with RESULTS.open("a", encoding="utf-8") as stream:
                        line = {"model": model, "set": name, "size": size, "train": len(rows)} | found
                        stream.write(json.dumps(line) + "\n")
                    print(f"  {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
