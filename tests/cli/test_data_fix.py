"""`tailor data fix`: a new file and a log, never a change to the old one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Tailor, mail, write_rows

WORDS = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet", "kilo",
         "lima", "mike", "november", "oscar", "papa"]  # fmt: skip
ROWS = [
    mail(f"{one} {other} number {n * 7919}", "order" if n % 3 else "spam")
    for n, (one, other) in enumerate((one, other) for one in WORDS for other in WORDS[:4])
]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def test_what_was_done_is_shown_written_and_logged(tailor: Tailor, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [*ROWS, ROWS[0], mail("hello", "Spam "), "oops"])
    before = train.read_bytes()
    out = tmp_path / "clean.jsonl"
    result = tailor("data", "fix", train, "-o", out, "--drop-duplicates", "--normalise")
    assert result.exit_code == 0, result.output
    assert "1 dropped  drop duplicates" in result.stdout
    assert "1 changed  normalise" in result.stdout
    assert "1 dropped  reading" in result.stdout
    assert f"tailor data check {out}" in result.stdout
    assert train.read_bytes() == before
    assert lines(out) == [*ROWS, mail("hello", "spam")]
    *changes, signature = lines(tmp_path / "clean.jsonl.log.jsonl")
    assert [change["line"] for change in changes] == [67, 66, 65]
    assert (signature["action"], signature["num_rows"]) == ("written", 65)


def test_json_has_it_all_and_nothing_else(tailor: Tailor, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [*ROWS, ROWS[0]])
    result = tailor("data", "fix", train, "-o", tmp_path / "out.jsonl", "--drop-duplicates", "--json")
    found = json.loads(result.stdout)
    assert found["counts"] == {"drop_duplicates dropped": 1}
    assert found["choices"]["drop_duplicates"] is True


def test_a_file_that_was_divided_is_not_divided_again(tailor: Tailor, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", ROWS)
    options = ("--split", "0.25", "--balance", "cap", "--drop-duplicates")
    assert tailor("data", "fix", train, "-o", tmp_path / "once.jsonl", *options).exit_code == 0
    assert len(lines(tmp_path / "once.validation.jsonl")) == 16
    result = tailor("data", "fix", tmp_path / "once.jsonl", "-o", tmp_path / "twice.jsonl", *options)
    assert result.exit_code == 0
    assert "divided before" in result.stderr
    assert (tmp_path / "twice.jsonl").read_bytes() == (tmp_path / "once.jsonl").read_bytes()
    assert not (tmp_path / "twice.validation.jsonl").exists()


def test_a_table_is_mended_into_a_training_file(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\nhow,a\nhow,a\nwho,b\n", encoding="utf-8")
    assert (
        tailor("data", "fix", tmp_path / "x.csv", "-o", tmp_path / "x.jsonl", "--drop-duplicates").exit_code
        == 0
    )
    assert lines(tmp_path / "x.jsonl") == [mail("how", "a"), mail("who", "b")]


def test_nothing_that_is_there_is_written_over(tailor: Tailor, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", ROWS)
    for taken in ("out.jsonl", "out.jsonl.log.jsonl", "out.validation.jsonl"):
        (tmp_path / taken).write_text("precious", encoding="utf-8")
        result = tailor("data", "fix", train, "-o", tmp_path / "out.jsonl", "--split", "0.1")
        assert result.exit_code == 2
        assert (tmp_path / taken).read_text(encoding="utf-8") == "precious"
        (tmp_path / taken).unlink()
    assert tailor("data", "fix", train, "-o", train, "--force").exit_code == 2
    assert lines(train) == ROWS


@pytest.mark.parametrize(
    "wrong",
    [
        ("--contradictions", "maybe"),
        ("--near-duplicates", "drop"),
        ("--redact", "secrets of the heart"),
        ("--balance", "some"),
        ("--balance", "cap=many"),
        ("--truncate", "5", "--split-long", "5"),
        ("--truncate", "1"),
        ("--split", "2"),
    ],
)
def test_a_users_mistakes_end_in_sentences_and_leave_nothing(
    tailor: Tailor, tmp_path: Path, wrong: tuple[str, ...]
) -> None:
    train = write_rows(tmp_path / "train.jsonl", ROWS)
    result = tailor("data", "fix", train, "-o", tmp_path / "out.jsonl", *wrong)
    assert result.exit_code == 2, result.output
    assert result.stderr.strip()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["train.jsonl"]
