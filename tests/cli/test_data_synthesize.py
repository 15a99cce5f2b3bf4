"""Synthetic data through a teacher that speaks OpenAI's API: filtered, balanced, resumable, marked."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tailor.cli import app

THINGS = (
    "printer",
    "invoice",
    "parcel",
    "password",
    "kettle",
    "garden hose",
    "train ticket",
    "violin",
    "window",
)


class Teacher(ThreadingHTTPServer):
    """Writes a new example each time; every fifth reply is useless, every seventh says an old thing again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.fail_after: int | None = None
        self.lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def reply(self, body: dict[str, Any]) -> str:
        with self.lock:
            self.asked.append(body)
        number = body["seed"]
        if number % 5 == 4:
            return "Certainly! I would love to help with that."
        prompt = body["messages"][-1]["content"]
        label = json.loads(prompt.split("exactly: ")[1]) if "exactly: " in prompt else "done"
        thing = THINGS[number % len(THINGS)]
        where = f"since day {number * 31 % 97}, room {number}"
        text = f"Case {number * 7919}: {thing} trouble {number * number}, {where}"
        if number % 7 == 6:
            text = "My invoice 1 is wrong, please look at it today"
        return f"Here it is:\n```json\n{json.dumps({'input': text, 'output': label})}\n```"


class _Handler(BaseHTTPRequestHandler):
    server: Teacher

    def do_GET(self) -> None:
        self._answer(
            {
                "id": "teacher",
                "object": "model",
                "created": 0,
                "owned_by": "x",
                "tailor": {"price": {"input": 2, "output": 8}},
            }
        )

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.server.fail_after is not None and len(self.server.asked) >= self.server.fail_after:
            self._answer({"error": {"message": "out of credit", "type": "insufficient_quota"}}, status=400)
            return
        message = {"role": "assistant", "content": self.server.reply(body)}
        self._answer(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 100, "completion_tokens": 30, "total_tokens": 130},
            }
        )

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def teacher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Teacher]:
    server = Teacher()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("TAILOR_BASE_URL", server.base_url)
    monkeypatch.setenv("TAILOR_API_KEY", "k")
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    rows = [
        ("My invoice 1 is wrong, please look at it today", "invoice"),
        ("Where is the parcel that I ordered last week?", "order"),
        ("The screen stays black after the update", "support"),
    ]
    with path.open("w") as stream:
        for asked, answer in rows:
            messages = [
                {"role": "system", "content": "Sort the mail."},
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ]
            stream.write(json.dumps({"messages": messages}) + "\n")
    return path


def run(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n") if line]


def test_examples_are_new_balanced_marked_and_trainable(
    teacher: Teacher, seeds: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new.jsonl"
    said = run("synthesize", seeds, "-o", out, "--model", "teacher", "-n", 30, "--balance", "--yes")
    rows = rows_of(out)
    assert len(rows) == 30
    assert Counter(row["messages"][-1]["content"] for row in rows) == {
        "invoice": 10,
        "order": 10,
        "support": 10,
    }
    assert {row["messages"][0]["content"] for row in rows} == {"Sort the mail."}
    assert len({row["messages"][1]["content"] for row in rows}) == 30
    assert all(
        row["metadata"]["origin"] == "synthetic" and row["metadata"]["model"] == "teacher" for row in rows
    )
    assert "tokens to read" in said and "at the teacher's price" in said
    assert "no example in the reply" in said and "says what is there already" in said
    run("check", out)
    system = teacher.asked[0]["messages"][0]["content"]
    assert "JSON" in system
    assert "Sort the mail." in teacher.asked[0]["messages"][1]["content"]


def test_a_stop_costs_nothing_twice(teacher: Teacher, seeds: Path, tmp_path: Path) -> None:
    command = ["synthesize", seeds, "-o", tmp_path / "new.jsonl", "--model", "teacher", "-n", 20, "--yes"]
    teacher.fail_after = 10
    run(*command, code=2)
    before = [body["seed"] for body in teacher.asked]
    journal = tmp_path / "new.jsonl.orders.jsonl"
    with journal.open("ab") as stream:
        stream.write(b'{"number": 99, "la')  # a power cut in the middle of a line
    teacher.fail_after = None
    run(*command)
    after = [body["seed"] for body in teacher.asked[len(before) :]]
    answered = {row["number"] for row in rows_of(journal)[1:]}
    assert min(after) >= 8 and not set(after) & set(before[:8])
    assert answered == set(range(max(answered) + 1))
    assert len(rows_of(tmp_path / "new.jsonl")) == 20
    asked = len(teacher.asked)
    run(*command)
    assert len(teacher.asked) == asked

    straight = tmp_path / "straight.jsonl"
    run("synthesize", seeds, "-o", straight, "--model", "teacher", "-n", 20, "--yes")
    assert straight.read_bytes() == (tmp_path / "new.jsonl").read_bytes()


def test_a_journal_of_another_run_is_refused(teacher: Teacher, seeds: Path, tmp_path: Path) -> None:
    run("synthesize", seeds, "-o", tmp_path / "new.jsonl", "--model", "teacher", "-n", 3, "--yes")
    said = run(
        "synthesize", seeds, "-o", tmp_path / "new.jsonl", "--model", "teacher", "-n", 3, "--seed", 5, code=2
    )
    assert "belongs to a run with other" in said


def test_a_grader_decides_what_is_kept(teacher: Teacher, seeds: Path, tmp_path: Path) -> None:
    grader = tmp_path / "grader.json"
    wants = {
        "type": "string_check",
        "name": "g",
        "operation": "like",
        "input": "{{item.input}}",
        "reference": "printer",
    }
    grader.write_text(json.dumps(wants))
    out = tmp_path / "new.jsonl"
    command = ["synthesize", seeds, "-o", out, "--model", "teacher", "-n", 2, "--yes", "--grader", grader]
    said = run(*command)
    assert all("printer" in row["messages"][1]["content"] for row in rows_of(out))
    assert "failed the grader" in said


def test_too_few_is_said_and_is_an_exit_code(teacher: Teacher, seeds: Path, tmp_path: Path) -> None:
    said = run(
        "synthesize",
        seeds,
        "-o",
        tmp_path / "n.jsonl",
        "--model",
        "teacher",
        "-n",
        1,
        "--label",
        "x",
        "--yes",
        "--json",
    )
    assert json.loads(said[said.index("{") :])["labels"] == {"x": 1}
    said = run("synthesize", "-o", tmp_path / "none.jsonl", "--model", "teacher", "--yes", code=2)
    assert "nothing to go by" in said


def test_general_rows_are_mixed_in_by_content_and_marked(seeds: Path, tmp_path: Path) -> None:
    general = tmp_path / "general.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Fact {n}?"}, {"role": "assistant", "content": "Yes"}]}
        for n in range(40)
    ]
    general.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("mix", seeds, "--general", general, "--share", 0.5, "-o", tmp_path / "one.jsonl")
    general.write_text("".join(json.dumps(row) + "\n" for row in reversed(rows)))
    run("mix", seeds, "--general", general, "--share", 0.5, "-o", tmp_path / "two.jsonl")
    mixed = rows_of(tmp_path / "one.jsonl")
    assert mixed == rows_of(tmp_path / "two.jsonl")
    assert [row.get("metadata", {}).get("origin") for row in mixed] == [None] * 3 + ["general"] * 3
    said = run("mix", seeds, "--general", general, "--share", 0.95, "-o", tmp_path / "three.jsonl")
    assert "has no more" in said
