"""Turn the corpora into the files that the stages read.

    python recipes/base/prepare.py CORPUS_FOLDER DATA_FOLDER OUTPUT_FOLDER

CORPUS_FOLDER holds `train.jsonl.gz` and `valid.jsonl.gz` (fields source, id, text). DATA_FOLDER holds the
conversations: `dolly/*.jsonl`, `medquad/*.tar*`, `sgd_dialogues/*.json`. Writes `plain.jsonl`, `chat.jsonl`,
`mixed.jsonl` (conversations and a seeded share of the plain text) and `valid.jsonl`.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import tarfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

VALIDATION_DOCUMENTS = 60
MIXED_PLAIN_SHARE = 0.15
SGD_SYSTEM = "You are a helpful assistant that finds and books things for people."
SERVICE = re.compile(r"_\d+$")


def corpus(path: Path) -> Iterator[Row]:
    """Documents as they stand, without their source: the model has no use for it."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            yield {"text": json.loads(line)["text"]}


def chosen(key: str, share: float) -> bool:
    """Whether a seeded hash of the key falls into the share."""
    return int(hashlib.sha256(f"tailor-base:{key}".encode()).hexdigest()[:8], 16) < share * 16**8


def dolly(folder: Path) -> Iterator[Row]:
    """Instructions and their answers."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8") as stream:
            for row in map(json.loads, stream):
                yield conversation(("user", row["prompt"]), ("assistant", row["response"]))


def medquad(folder: Path) -> Iterator[Row]:
    """Questions about health and the first part of their answers."""
    for path in sorted(folder.glob("*.tar*")):
        with tarfile.open(path) as archive:
            for member in archive:
                if member.name.endswith(".xml") and (file := archive.extractfile(member)):
                    yield from questions(ElementTree.fromstring(file.read()))


def questions(document: ElementTree.Element) -> Iterator[Row]:
    """The answered questions of one document."""
    for pair in document.iter("QAPair"):
        question, answer = pair.findtext("Question"), pair.findtext("Answer")
        if question and answer and answer.strip():
            yield conversation(("user", " ".join(question.split())), ("assistant", shortened(answer)))


def shortened(text: str, most: int = 1_200) -> str:
    """White space made single, cut after a sentence."""
    text = " ".join(text.split())
    if len(text) <= most:
        return text
    end = text.rfind(". ", 0, most)
    return text[: end + 1] if end > 0 else text[:most]


def dialogues(folder: Path) -> Iterator[Row]:
    """Service dialogues, speaker by speaker."""
    for path in sorted(folder.rglob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        for dialogue in found if isinstance(found, list) else []:
            turns = [
                ("user" if turn["speaker"] == "USER" else "assistant", turn["utterance"])
                for turn in dialogue.get("turns", [])
            ]
            if len(turns) >= 2:
                yield conversation(("system", SGD_SYSTEM), *turns)


def conversation(*turns: tuple[str, str]) -> Row:
    """A chat row; an unanswered last turn is left out."""
    kept = list(turns) if turns[-1][0] == "assistant" else list(turns[:-1])
    return {"messages": [{"role": role, "content": content} for role, content in kept]}


def write(path: Path, rows: Iterable[Row]) -> None:
    """One row to a line."""
    count = 0
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    print(f"{path.name}: {count:,} rows, {path.stat().st_size / 1e6:.0f} MB")


def validation(path: Path) -> list[Row]:
    """Sixty seeded documents, the first 6,000 characters of each."""
    rows = sorted(corpus(path), key=lambda row: hashlib.sha256(row["text"].encode()).hexdigest())
    return [{"text": row["text"][:6_000]} for row in rows[:VALIDATION_DOCUMENTS]]


def main() -> None:
    """Read the command line and write the four files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    if not (given.corpus / "train.jsonl.gz").is_file() or not (given.data / "dolly").is_dir():
        parser.error(
            "CORPUS_FOLDER needs train.jsonl.gz and valid.jsonl.gz, DATA_FOLDER dolly, medquad, sgd_dialogues"
        )
    given.output.mkdir(parents=True, exist_ok=True)
    plain = list(corpus(given.corpus / "train.jsonl.gz"))
    chat = [
        *dolly(given.data / "dolly"),
        *medquad(given.data / "medquad"),
        *dialogues(given.data / "sgd_dialogues"),
    ]
    write(given.output / "plain.jsonl", plain)
    write(given.output / "chat.jsonl", chat)
    some = [row for row in plain if chosen(row["text"], MIXED_PLAIN_SHARE)]
    write(given.output / "mixed.jsonl", [*chat, *some])
    write(given.output / "valid.jsonl", validation(given.corpus / "valid.jsonl.gz"))


if __name__ == "__main__":
    main()
