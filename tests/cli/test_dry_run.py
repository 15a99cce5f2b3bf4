"""`tailor train --dry-run`: what it would take, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import openai

from tailor.server import EmbeddedServer
from tests.cli.conftest import Tailor, mail, write_rows


def test_a_dry_run_says_what_it_would_take_and_leaves_nothing(tailor: Tailor, tmp_path: Path) -> None:
    labels = ("order", "refund", "spam")
    file = write_rows(
        tmp_path / "train.jsonl",
        [mail(f"Mail {number}, please read", labels[number % 3]) for number in range(30)],
    )
    command = ("train", file, "--dry-run", "--home", tmp_path / "home")
    said = tailor(*command)
    assert said.exit_code == 0, said.output
    assert "LoRA of rank 64" in said.output
    assert "Nothing was trained" in said.output
    plan = json.loads(tailor(*command, "--full", "--epochs", "2", "--json").stdout)
    assert plan["num_examples"] == 27
    assert plan["recipe"]["adapter"] == "full"
    assert plan["num_steps"] == 2 * 7
    assert plan["fits"]
    parts = [value for name, value in plan["memory"].items() if name not in ("total_bytes", "room_bytes")]
    assert plan["memory"]["total_bytes"] == sum(parts)
    with (
        EmbeddedServer(tmp_path / "home", run_jobs=False) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key) as client,
    ):
        assert list(client.files.list()) == []
        assert list(client.fine_tuning.jobs.list()) == []


def test_a_file_that_cannot_be_trained_on_is_refused_before_anything_is_sent(
    tailor: Tailor, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "train.jsonl", ["{"] * 12)
    said = tailor("train", file, "--dry-run")
    assert said.exit_code == 1
    assert "Nothing was sent" in said.output
