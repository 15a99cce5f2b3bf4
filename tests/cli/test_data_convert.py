"""`tailor data convert`: what it is taken for is shown, and the file is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Tailor

TABLE = "text,label,source\nwhere is it,order,a\nfree money,spam,b\n,spam,c\n"


def test_the_guess_and_two_examples_are_shown_and_the_next_step(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(TABLE, encoding="utf-8")
    out = tmp_path / "out.jsonl"
    result = tailor("data", "convert", tmp_path / "x.csv", "-o", out)
    assert result.exit_code == 0
    assert "guessed from the column names" in result.stdout
    assert "question: text; answer: label; left out: source" in result.stdout
    assert "where is it" in result.stdout
    assert "line 4" in result.stdout
    assert "2 rows written" in result.stdout
    assert f"tailor data check {out}" in result.stdout
    assert [json.loads(line)["messages"][1]["content"] for line in out.read_text().splitlines()] == [
        "order",
        "spam",
    ]


def test_json_has_it_all_and_nothing_else(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(TABLE, encoding="utf-8")
    result = tailor("data", "convert", tmp_path / "x.csv", "-o", tmp_path / "out.jsonl", "--json")
    found = json.loads(result.stdout)
    assert (found["num_rows"], found["num_left_out"]) == (2, 1)
    assert found["sources"][0]["mapping"]["output"] == "label"
    assert found["report"]["problems"][0]["line"] == 4


def test_flags_overrule_the_guess(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(TABLE, encoding="utf-8")
    out = tmp_path / "out.jsonl"
    options = ("--output", "source", "--system", "Sort.", "--label", "a=first", "--form", "reinforcement")
    assert tailor("data", "convert", tmp_path / "x.csv", "-o", out, *options).exit_code == 0
    assert json.loads(out.read_text().splitlines()[0]) == {
        "messages": [{"role": "system", "content": "Sort."}, {"role": "user", "content": "where is it"}],
        "reference_answer": "first",
    }


def test_what_is_there_is_never_overwritten_unasked(tailor: Tailor, tmp_path: Path) -> None:
    source, out = tmp_path / "x.csv", tmp_path / "out.jsonl"
    source.write_text(TABLE, encoding="utf-8")
    out.write_text("precious", encoding="utf-8")
    assert tailor("data", "convert", source, "-o", out).exit_code == 2
    assert tailor("data", "convert", source, "-o", source, "--force").exit_code == 2
    assert (source.read_text(), out.read_text()) == (TABLE, "precious")
    assert tailor("data", "convert", source, "-o", out, "--force").exit_code == 0


def test_nothing_is_left_behind_when_no_row_could_be_written(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label\n,a\n,b\n", encoding="utf-8")
    result = tailor("data", "convert", tmp_path / "x.csv", "-o", tmp_path / "out.jsonl", "--input", "text",
                    "--output", "label")  # fmt: skip
    assert result.exit_code == 2
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["x.csv"]


def test_sources_of_different_forms_are_not_mixed(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n', encoding="utf-8")
    (tmp_path / "b.csv").write_text(TABLE, encoding="utf-8")
    result = tailor("data", "convert", tmp_path / "a.jsonl", tmp_path / "b.csv", "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert "different forms: chat, text" in result.stderr


def test_a_users_mistakes_end_in_sentences(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(TABLE, encoding="utf-8")
    out = tmp_path / "out.jsonl"
    for wrong in (["--form", "haiku"], ["--output", "nothing"], ["--label", "a"], ["--encoding", "klingon"],
                  ["--split", "test"]):  # fmt: skip
        result = tailor("data", "convert", tmp_path / "x.csv", "-o", out, *wrong)
        assert result.exit_code == 2, result.output
        assert result.stderr.strip()
    assert tailor("data", "convert", tmp_path / "absent.csv", "-o", out).exit_code == 2
    assert not out.exists()


def test_what_a_file_says_does_not_steer_the_terminal(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("text,label,\x1b[2J\n\x1b[2Ja,b,c\nc,d,e\n", encoding="utf-8")
    result = tailor("data", "convert", tmp_path / "x.csv", "-o", tmp_path / "out.jsonl")
    assert "\x1b" not in result.stdout
