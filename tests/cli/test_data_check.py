"""`tailor data check` and `tailor data show`: one screen, one page, and what the model will see."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Tailor, mail, write_rows
from tests.data.doctor.making import labelled


def test_a_check_fits_a_screen_and_names_the_fix(tailor: Tailor, tmp_path: Path) -> None:
    rows = [*labelled(200), *labelled(6), mail("write to jane.doe@corp.org, please", "spam")]
    result = tailor("data", "check", write_rows(tmp_path / "train.jsonl", rows))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert len(lines) < 45
    assert "6 examples of 207 are copies" in " ".join(result.stdout.split())
    assert "fix --drop-duplicates" in result.stdout
    assert "classification with 3 labels" in result.stdout


def test_a_table_is_checked_as_it_lies_there(tailor: Tailor, tmp_path: Path) -> None:
    table = tmp_path / "mails.csv"
    table.write_text("body,class\n" + "".join(f"mail {n} about things,{'ab'[n % 2]}\n" for n in range(40)))
    result = tailor("data", "check", table, "--input", "body", "--output", "class", "--json")
    assert result.exit_code == 0
    (report,) = json.loads(result.stdout)["files"]
    assert report["task"]["kind"] == "classification"
    assert report["num_examples"] == 40


def test_the_page_holds_findings_plots_and_tokens(tailor: Tailor, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    rows = [*labelled(120), *labelled(2)]
    result = tailor("data", "check", write_rows(tmp_path / "train.jsonl", rows), "--html", page)
    assert result.exit_code == 0
    html = page.read_text(encoding="utf-8")
    assert "Exact duplicates" in html
    assert "<svg" in html
    assert "What the model will see" in html
    assert "spam" in html


def test_a_wrong_goal_is_a_users_mistake(tailor: Tailor, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", labelled(12))
    result = tailor("data", "check", train, "--goal", "fame")
    assert result.exit_code == 2
    assert "format, style, domain, behaviour" in result.stderr


def test_show_names_what_is_learnt_and_where_it_is_cut(tailor: Tailor, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", [mail("where is it", "order"), mail("hello", "spam")])
    result = tailor("data", "show", train, "--line", "2")
    assert result.exit_code == 0
    assert "line 2" in result.stdout
    assert "⟦spam<|im_end|>⟧" in result.stdout
    cut = tailor("data", "show", train, "--context", "5", "--json")
    (example,) = json.loads(cut.stdout)["examples"]
    assert example["num_cut"] == example["num_tokens"] - 5
    assert example["num_learnt"] == 0
    assert tailor("data", "show", train, "--line", "9").exit_code == 2
