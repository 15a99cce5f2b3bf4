"""How good a base is before any tuning: bits per character on held-out text, and grammar (BLiMP).

    python benchmarks/base.py VALID.jsonl BLIMP.jsonl.gz MODEL_DIRECTORY [MODEL_DIRECTORY ...]

VALID is what `recipes/base/prepare.py` writes (60 documents, 6,000 characters each); BLIMP has fields good,
bad and paradigm. Documents are read in windows of the context length, each predicted from its own window.
A pair counts as right if the good sentence, between end marks, is likelier; 50 seeded pairs a paradigm. One
JSON line a model goes to `benchmarks/results/base.jsonl`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import math
from collections import defaultdict
from pathlib import Path

from tailor.data import TextExample, read_texts
from tailor.grading import wilson
from tailor.models import LoadedModel, load_base
from tailor.training import score, tokenize_texts

RESULTS = Path(__file__).parent / "results" / "base.jsonl"
PAIRS_PER_PARADIGM = 50


def bits_per_character(loaded: LoadedModel, path: Path) -> float:
    """Of all documents together."""
    with path.open("rb") as stream:
        documents = read_texts(stream, name=path.name).examples
    pieces = tokenize_texts(documents, loaded.template, max_tokens=loaded.context_length).examples
    nats = sum(each.loss_sum for each in score(loaded, pieces))
    return nats / math.log(2) / sum(len(document.text) for document in documents)


def pairs(path: Path) -> list[tuple[str, str]]:
    """Seeded pairs (good, bad), the same number of each paradigm."""
    rows = defaultdict(list)
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            rows[row["paradigm"]].append((row["good"], row["bad"]))

    def place(pair: tuple[str, str]) -> bytes:
        return hashlib.sha256(f"1:{pair[0]}".encode()).digest()

    return [pair for name in sorted(rows) for pair in sorted(rows[name], key=place)[:PAIRS_PER_PARADIGM]]


def num_right(loaded: LoadedModel, chosen: list[tuple[str, str]]) -> int:
    """Pairs whose good sentence is the likelier one."""
    losses = []
    for side in (0, 1):
        examples = [TextExample(line=number, text=pair[side]) for number, pair in enumerate(chosen, start=1)]
        pieces = tokenize_texts(examples, loaded.template, max_tokens=loaded.context_length).examples
        losses.append([each.loss_sum for each in score(loaded, pieces)])
    return sum(good < bad for good, bad in zip(*losses, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("valid", type=Path)
    parser.add_argument("blimp", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    given = parser.parse_args()
    chosen = pairs(given.blimp)
    for directory in given.models:
        loaded = load_base(directory)
        right = num_right(loaded, chosen)
        interval = wilson(right, len(chosen))
        found = {
            "digest": loaded.digest[:12],
            "parameters": loaded.facts.num_parameters,
            "bits_per_character": round(bits_per_character(loaded, given.valid), 4),
            "blimp": round(right / len(chosen), 4),
            "blimp_interval": [round(interval.low, 4), round(interval.high, 4)],
            "pairs": len(chosen),
        }
        print(directory.name, json.dumps(found))
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
