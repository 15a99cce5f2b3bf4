"""The command line with the real server: its own, and one that already runs on the home."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailor.server import EmbeddedServer
from tests.cli.conftest import Tailor, mail, write_rows

WORDS = {"order": ("parcel", "delivery", "shipment"), "spam": ("winner", "prize", "lottery")}


def mails(count: int, *, first: int = 0) -> list[dict[str, object]]:
    """Mails of two kinds, no two alike."""
    rows = []
    for number in range(first, first + count):
        label = ("order", "spam")[number % 2]
        rows.append(mail(f"{WORDS[label][number % 3]} number {number}", label))
    return rows


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home on which a server runs."""
    home = tmp_path_factory.mktemp("served")
    with EmbeddedServer(home):
        yield home


def test_a_server_that_already_runs_on_the_home_is_used(tailor: Tailor, home: Path) -> None:
    result = tailor("models", "--home", home, "--json")
    assert result.exit_code == 0, result.output
    assert "Started a server" not in result.stderr
    [base] = json.loads(result.stdout)
    assert base["tailor"]["default"] is True


def test_without_a_server_the_command_starts_its_own(tailor: Tailor, tmp_path: Path) -> None:
    result = tailor("models", "--home", tmp_path, "--json")
    assert result.exit_code == 0, result.output
    assert "Started a server for this command" in result.stderr
    assert json.loads(result.stdout)[0]["tailor"]["kind"] == "base"


def test_the_base_can_be_evaluated_alone(tailor: Tailor, home: Path, tmp_path: Path) -> None:
    [base] = json.loads(tailor("models", "--home", home, "--json").stdout)
    cases = write_rows(
        tmp_path / "cases.jsonl",
        [
            {"messages": [{"role": "user", "content": "hello"}], "expected_patterns": ["zzzz"]},
            {"messages": [{"role": "user", "content": "hello"}], "reference": "zzzz"},
            mail("hello", "zzzz"),
        ],
    )
    result = tailor("eval", base["id"], cases, "--home", home, "--max-tokens", "4", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["total"], found["passed"], found["failed"], found["pass_rate"]) == (3, 0, 3, 0.0)
    assert [failure["expected"] for failure in found["failures"]] == [["zzzz"], "zzzz", "zzzz"]
    assert found["comparison"] is None


def test_train_then_ask_judge_and_delete(tailor: Tailor, home: Path, tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.jsonl", mails(12))
    held_out = write_rows(tmp_path / "held_out.jsonl", mails(4, first=12))
    done = tailor(
        "train",
        train,
        "--validation",
        held_out,
        "--epochs",
        "1",
        "--suffix",
        "mail",
        "--home",
        home,
        "--json",
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    model = found["job"]["fine_tuned_model"]
    assert re.fullmatch(r"ft:[^:]+:local:mail:[A-Za-z0-9]{8}", model)
    assert found["proof"]["num_items"] == 4
    assert "Step" not in done.stderr  # metrics are drawn, not listed

    assert model in tailor("models", "--home", home).stdout.replace("\n", "")
    shown = tailor("models", "proof", model, "--home", home).stdout
    assert "Before and after, on 4 held-out items" in shown
    asked = tailor("chat", model, "parcel number 99", "--max-tokens", "4", "--home", home)
    assert asked.exit_code == 0 and asked.stdout.strip()
    judged = json.loads(tailor("eval", model, held_out, "--max-tokens", "4", "--home", home, "--json").stdout)
    assert judged["total"] == judged["comparison"]["against"]["total"] == 4
    events = json.loads(tailor("jobs", "events", found["job"]["id"], "--home", home, "--json").stdout)
    assert len({event["id"] for event in events}) == len(events)
    assert any(event["type"] == "metrics" for event in events)

    assert tailor("models", "remove", model, "--home", home).exit_code == 0
    assert tailor("models", "show", model, "--home", home).exit_code == 2


def test_an_unknown_model_is_named(tailor: Tailor, home: Path) -> None:
    result = tailor("chat", "absent", "hello", "--home", home)
    assert result.exit_code == 2
    assert "absent" in result.stderr


def test_a_base_is_added_made_the_default_and_removed(tailor: Tailor, tmp_path: Path) -> None:
    from tailor.models import embedded_directory

    source = embedded_directory()
    assert tailor("models", "add", "first", source).exit_code == 0
    added = json.loads(tailor("models", "add", "second", source, "--default", "--json").stdout)
    assert (added["name"], added["is_default"]) == ("second", True)
    assert tailor("models", "default", "first").exit_code == 0
    assert tailor("models", "remove", "second").exit_code == 0
    assert tailor("models", "remove", "second").exit_code == 2


def test_what_is_no_model_is_not_added(tailor: Tailor, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "auto_map": {}}')
    result = tailor("models", "add", "evil", tmp_path)
    assert result.exit_code == 2
    assert "names code" in result.stderr


def test_serve_says_where_it_is_and_stops_on_ctrl_c(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "tailor.cli", "serve", "--home", str(tmp_path), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(8)]
        [address] = re.findall(r"OPENAI_BASE_URL=(\S+)", "".join(said))
        [key] = re.findall(r"OPENAI_API_KEY=(sk-tailor-\S+)", "".join(said))
        request = urllib.request.Request(f"{address}/models", headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert json.load(answer)["object"] == "list"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
