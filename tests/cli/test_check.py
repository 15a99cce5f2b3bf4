"""`tailor check`: all problems, with lines, on the screen and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Tailor, mail, write_rows

GOOD = [mail(f"where is parcel {number}", "order") for number in range(12)]
BAD = [
    {"messages": [{"role": "user", "content": "hello"}]},
    '{"messages": [',
    {"messages": [{"role": "wizard", "content": "x"}, {"role": "assistant", "content": "y"}]},
    "[1]",
]


def test_every_bad_line_is_shown(tailor: Tailor, tmp_path: Path) -> None:
    result = tailor("check", write_rows(tmp_path / "train.jsonl", [*GOOD, *BAD]))
    assert result.exit_code == 1
    for line in ("13", "14", "15", "16"):
        assert f" {line}   blocks" in result.stdout
    assert "train.jsonl: valid: 12/16" in result.stdout
    assert "\x1b[" not in result.stdout


def test_json_has_the_same_and_nothing_else(tailor: Tailor, tmp_path: Path) -> None:
    result = tailor("check", write_rows(tmp_path / "train.jsonl", [*GOOD, *BAD]), "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["ok"] is False
    [report] = found["files"]
    blocking = [problem for problem in report["problems"] if problem["severity"] == "blocking"]
    assert [problem["line"] for problem in blocking] == [13, 14, 15, 16]
    assert all(problem["message"] and problem["remedy"] for problem in blocking)


def test_a_good_file_is_good(tailor: Tailor, tmp_path: Path) -> None:
    result = tailor("check", write_rows(tmp_path / "train.jsonl", GOOD))
    assert result.exit_code == 0
    assert "valid: 12/12" in result.stdout


def test_a_validation_file_is_checked_too_and_held_against_the_training_file(
    tailor: Tailor, tmp_path: Path
) -> None:
    train = write_rows(tmp_path / "train.jsonl", GOOD)
    held_out = write_rows(tmp_path / "held_out.jsonl", [GOOD[3], mail("new", "order")])
    result = tailor("check", train, "--validation", held_out)
    assert result.exit_code == 0
    assert "training file too" in " ".join(result.stdout.split())
    assert "held_out.jsonl: valid: 2/2" in result.stdout


def test_a_file_that_is_not_there_is_a_users_mistake(tailor: Tailor, tmp_path: Path) -> None:
    for place in (tmp_path / "absent.jsonl", tmp_path):
        result = tailor("check", place)
        assert result.exit_code == 2
        assert place.name in result.stderr


def test_what_a_file_says_does_not_steer_the_terminal(tailor: Tailor, tmp_path: Path) -> None:
    hostile = {"messages": [{"role": "\x1b[2J", "content": "x"}, {"role": "assistant", "content": "y"}]}
    result = tailor("check", write_rows(tmp_path / "train.jsonl", [*GOOD, hostile]))
    assert "\x1b" not in result.stdout
