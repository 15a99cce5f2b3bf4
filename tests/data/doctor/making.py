"""Small files for tests of the doctor."""

from __future__ import annotations

import io
import json
from typing import Any

from tailor.data.doctor import Diagnosis, Finding, Options, diagnose_jsonl
from tailor.data.doctor.corpus import Corpus
from tailor.data.doctor.diagnose import read_corpus
from tailor.data.problems import Findings
from tailor.data.rows import Form, Row

TOPICS = ("parcel", "invoice", "password", "refund", "delivery", "account", "subscription", "newsletter")
VERBS = ("change", "cancel", "explain", "find", "confirm", "delay", "repeat", "forward")
THINGS = ("address", "number", "date", "amount", "colour", "reason", "owner", "status", "history", "format")


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        **more,
    }


def question(number: int) -> str:
    """Questions that have little in common; 640 different ones."""
    verb, topic, thing = VERBS[number % 8], TOPICS[number // 8 % 8], THINGS[number // 64 % 10]
    return f"{verb} for me now the {thing} belonging to {topic} item {number * 7919 % 99991}"


def labelled(count: int, labels: tuple[str, ...] = ("spam", "order", "invoice")) -> list[dict[str, Any]]:
    return [chat(question(number), labels[number % len(labels)]) for number in range(count)]


def answered(count: int) -> list[dict[str, Any]]:
    return [
        chat(
            question(number),
            f"The answer to question {number} is long enough to be one, and it ends well here.",
        )
        for number in range(count)
    ]


def jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def diagnosed(rows: list[Any], **options: Any) -> Diagnosis:
    return diagnose_jsonl(io.BytesIO(jsonl(rows)), name="train.jsonl", options=Options(**options))


def corpus_of(rows: list[Any], name: str = "held_out.jsonl") -> Corpus:
    made = (Row(line=line, file=name, value=row) for line, row in enumerate(rows, start=1))
    corpus, _ = read_corpus(made, name=name, form=Form.CHAT, options=Options(), findings=Findings())
    return corpus


def only(found: Diagnosis, code: str) -> Finding:
    """The one finding of a code."""
    (finding,) = [finding for finding in found.findings if finding.code == code]
    return finding


def codes(found: Diagnosis) -> set[str]:
    return {finding.code for finding in found.findings}
