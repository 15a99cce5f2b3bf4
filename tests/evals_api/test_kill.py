"""kill -9 of a server in the middle of a run: the next one goes on, and asks nothing that was recorded."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from tailor.evals.runs.means import MAX_ASKS
from tailor.store import read_server
from tests.evals_api.conftest import finished

SCRIPT = """
import sys
from pathlib import Path
from tailor.server import ServerConfig, serve
serve(ServerConfig(home=Path(sys.argv[1]), port=0, drain_seconds=1))
"""
NUM_ROWS = 60


class Counting:
    """An upstream that notes what it is asked, and asks callers to come back later now and then."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.refused = 0
        self._lock = threading.Lock()
        self._served = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._served.server_address[1]}/v1"
        threading.Thread(target=self._served.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._served.shutdown()
        self._served.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["content-length"])
                data = self.rfile.read(length)
                if len(data) < length:
                    return  # whoever asked was killed while asking
                body = json.loads(data)
                time.sleep(0.02)
                status, answer = upstream._answer(body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                if status == 429:
                    self.send_header("retry-after", "1")
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def _answer(self, body: Any) -> tuple[int, Any]:
        asked = body["messages"][-1]["content"]
        with self._lock:
            if len(self.answered) in (7, 8) and self.refused < 2:
                self.refused += 1
                return 429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
            self.answered.append(asked)
        return 200, {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": asked.upper()},
                }
            ],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }


@pytest.fixture
def upstream() -> Iterator[Counting]:
    made = Counting()
    yield made
    made.close()


@contextmanager
def serving(home: Path, **more: str) -> Iterator[tuple[subprocess.Popen[bytes], openai.OpenAI]]:
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(home)],
        stderr=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | more,
    )
    try:
        until = time.monotonic() + 60
        while (url := read_server(home)) is None or not (home / "local.key").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        key = (home / "local.key").read_text().strip()
        with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def test_a_killed_server_goes_on_and_asks_nothing_twice(tmp_path: Path, upstream: Counting) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "upstreams.toml").write_text(
        f'[slow]\nbase_url = "{upstream.url}"\nconcurrency = 4\n[slow.models.m]\ninput_price = 1.0\n'
    )
    with serving(home, TAILOR_FAULT="eval_recorded:3") as (process, client):
        evaluation = client.evals.create(
            data_source_config={"type": "custom", "item_schema": {}, "include_sample_schema": True},
            testing_criteria=[
                {
                    "type": "string_check",
                    "name": "upper",
                    "input": "{{ sample.output_text }}",
                    "reference": "{{ item.loud }}",
                    "operation": "eq",
                },
            ],
        )
        content: Any = [{"item": {"text": f"row {n}", "loud": f"ROW {n}"}} for n in range(NUM_ROWS)]
        run = client.evals.runs.create(
            evaluation.id,
            data_source={
                "type": "completions",
                "model": "slow/m",
                "source": {"type": "file_content", "content": content},
                "input_messages": {
                    "type": "template",
                    "template": [{"role": "user", "content": "{{ item.text }}"}],
                },
            },
        )
        assert process.wait(30) == -signal.SIGKILL
    recorded = len(upstream.answered)
    assert 3 <= recorded < NUM_ROWS
    with serving(home, TAILOR_FAULT="eval_recorded:4") as (process, client):
        assert process.wait(30) == -signal.SIGKILL
    with serving(home) as (process, client):
        run = finished(client, run)
        assert run.status == "completed", run.error
        assert run.result_counts.to_dict() == {
            "total": NUM_ROWS,
            "passed": NUM_ROWS,
            "failed": 0,
            "errored": 0,
        }
        items = list(client.evals.runs.output_items.list(run.id, eval_id=evaluation.id))
        assert [item.datasource_item_id for item in items] == list(range(NUM_ROWS))
        [usage] = run.per_model_usage
        assert usage.invocation_count == NUM_ROWS  # recorded once, each
    # Asked again are only rows whose answer was not recorded yet when the server was killed.
    again = len(upstream.answered) - len(set(upstream.answered))
    assert set(upstream.answered) == {f"row {n}" for n in range(NUM_ROWS)}
    assert again <= 2 * MAX_ASKS
    assert upstream.refused == 2
