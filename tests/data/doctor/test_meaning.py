"""Paraphrases, by a model that turns texts into vectors."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
from typer.testing import CliRunner

from tailor.cli import app
from tailor.data.doctor import Options, diagnose, diagnose_jsonl
from tailor.data.rows import Form, Row
from tests.data.doctor.making import chat, codes, corpus_of, jsonl, labelled, only, question

ORDERED = chat("Where is the parcel that I have ordered?", "order")
SAME = chat("My delivery still has not shown up at all", "order")


def by_parcel(texts: Sequence[str]) -> list[list[float]]:
    """Vectors that know one thing: which texts are about a parcel; all others have a place of their own."""

    def vector(text: str) -> list[float]:
        if "parcel that I have" in text or "My delivery still" in text:
            return [8.0] + [0.0] * 63
        return [0.0, *np.random.default_rng(crc32(text.encode())).normal(size=63)]

    return [vector(text) for text in texts]


def test_what_means_the_same_in_other_words_is_found_where_there_is_a_model() -> None:
    data = jsonl([ORDERED, *labelled(60), SAME])
    found = diagnose_jsonl(io.BytesIO(data), name="train.jsonl", options=Options(embed=by_parcel))
    finding = only(found, "paraphrase")
    assert finding.lines == (62,)
    assert "line 1" in finding.problems[0].message
    without = diagnose_jsonl(io.BytesIO(data), name="train.jsonl")
    assert "paraphrase" not in codes(without)
    assert any("--embeddings" in said for said in without.unchecked)


def test_another_label_is_no_paraphrase() -> None:
    other = chat("My delivery still has not shown up at all", "spam")
    data = jsonl([ORDERED, *labelled(60), other])
    found = diagnose_jsonl(io.BytesIO(data), name="train.jsonl", options=Options(embed=by_parcel))
    assert "paraphrase" not in codes(found)


def test_a_validation_example_that_training_asks_in_other_words_is_a_leak() -> None:
    rows = [Row(line=at, file="t", value=row) for at, row in enumerate([ORDERED, *labelled(60)], start=1)]
    validation = corpus_of([SAME, chat(question(500), "spam")])
    found = diagnose(
        iter(rows), name="t", form=Form.CHAT, options=Options(embed=by_parcel), validation=validation
    )
    assert only(found, "same_meaning_overlap").lines == (1,)


def test_the_command_asks_a_model_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_bytes(jsonl(labelled(60)))
    command = ["data", "check", str(path), "--home", str(tmp_path / "home"), "--json", "--embeddings"]
    ran = CliRunner().invoke(app, [*command, "tailor-mini-2"])
    assert not any("--embeddings" in said for said in json.loads(ran.stdout)["files"][0]["unchecked"])
    assert CliRunner().invoke(app, [*command, "nobody/knows"]).exit_code != 0
