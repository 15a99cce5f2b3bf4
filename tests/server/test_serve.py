"""The server as a process: signals, drain, and being the only one on its home."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tailor.errors import InvalidRequest, Unavailable
from tailor.server import EmbeddedServer, ServerConfig
from tailor.server.engine import BackgroundEngine
from tailor.server.sockets import bind
from tailor.store import read_server
from tests.server.test_limits import read_answer

SCRIPT = """
import sys
from pathlib import Path
from tailor.server import ServerConfig, serve
serve(ServerConfig(home=Path(sys.argv[1]), port=0, drain_seconds=float(sys.argv[2])))
"""


class Served:
    """A server in a process of its own."""

    def __init__(self, home: Path, drain_seconds: float) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(home), str(drain_seconds)],
            stderr=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def wait_until_ready(self) -> None:
        """Find its address and key in the home, and return once it can answer."""
        home = self.home
        deadline = time.monotonic() + 60
        while (url := read_server(home)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        assert url is not None
        self.key = ""
        self.url = url.removesuffix("/v1")
        while not self.key and time.monotonic() < deadline:
            self.key = (home / "local.key").read_text().strip() if (home / "local.key").exists() else ""
            time.sleep(0.05)
        self.http = httpx2.Client(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, trust_env=False, timeout=60
        )
        while self.http.get("/readyz").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.1)

    def end(self) -> tuple[int, str]:
        """How it ended, and what it said."""
        _, said = self.process.communicate(timeout=40)
        return self.process.returncode, said.decode()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    made = Served(tmp_path / "home", 0.5)
    try:
        made.wait_until_ready()
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def begin_stream(served: Served) -> socket.socket:
    """A long stream that has begun to answer."""
    body = {
        "model": "tailor-mini-2",
        "messages": [{"role": "user", "content": "a"}],
        "stream": True,
        "n": 60,
        "temperature": 2,
        "logit_bias": {"0": -100, "2": -100},
    }
    data = json.dumps(body).encode()
    host, port = served.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=60)
    connection.sendall(
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {served.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    return connection


def test_a_server_is_the_only_one_on_its_home_and_ends_cleanly_when_terminated(served: Served) -> None:
    with (
        pytest.raises(InvalidRequest, match=f"already running on .* process {served.process.pid}"),
        EmbeddedServer(served.home),
    ):
        pass
    with begin_stream(served) as connection:
        stream = connection.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 200")
        while not stream.readline().startswith(b"data: "):
            pass
        served.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        refused = served.http.get("/v1/models")
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "server_stopping"
        assert int(refused.headers["retry-after"]) >= 1
        assert served.http.get("/readyz").status_code == 503
        assert served.http.get("/healthz").status_code == 200
        rest = stream.read()
    lines = [line for line in rest.split(b"\n") if line.startswith(b"data: ")]
    assert json.loads(lines[-1].removeprefix(b"data: "))["error"]["code"] == "server_stopping"
    assert b"[DONE]" not in rest
    assert not rest.endswith(b"0\r\n\r\n"), "a clean end would look like a whole answer"
    status, said = served.end()
    assert status == 0, said
    assert "Traceback" not in said
    assert read_server(served.home) is None
    in_file = (served.home / "logs" / "server.log").read_text()
    assert "'/healthz' 200" in in_file
    assert "'/healthz' 200" not in said, "what clients poll does not bury the rest on the terminal"
    assert "'/v1/models' 503" in said


def test_an_embedded_server_stops_at_once_when_nothing_is_in_progress(tmp_path: Path) -> None:
    with EmbeddedServer(tmp_path, run_jobs=False) as server, httpx2.Client(trust_env=False) as anyone:
        root = server.base_url.removesuffix("/v1")
        assert anyone.get(f"{root}/healthz").status_code == 200
        begun = time.monotonic()
    assert time.monotonic() - begun < 4
    assert read_server(tmp_path) is None


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with bind(ServerConfig(home=tmp_path, port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InvalidRequest, match=f"Cannot listen on 127.0.0.1, port {port}"):
            bind(ServerConfig(home=tmp_path, port=port))


def test_a_connection_that_sends_nothing_is_closed(
    tmp_path: Path, server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailor.server.sockets._HEAD_SECONDS", 0.2)
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\n")
        assert connection.recv(100) == b""


def test_an_engine_that_is_loading_or_broken_is_not_ready() -> None:
    import threading

    go = threading.Event()

    def build() -> Any:
        go.wait(10)
        raise RuntimeError("no such weights")

    engine = BackgroundEngine(build)
    engine.start()
    with pytest.raises(Unavailable, match="loading"):
        engine.check_ready()
    assert engine.figures() == {"status": "loading", "restarts": 0}
    go.set()
    engine.close()
    with pytest.raises(Unavailable, match="no such weights"):
        engine.check_ready()
    assert engine.figures() == {"status": "failed", "restarts": 0}


def test_a_request_over_the_bound_is_refused_and_not_queued(tmp_path: Path) -> None:
    config = ServerConfig(home=tmp_path, max_requests=1)
    with EmbeddedServer(tmp_path, config=config, run_jobs=False) as small:
        host, port = small.base_url.removeprefix("http://").removesuffix("/v1").split(":")
        head = (
            f"POST /v1/fine_tuning/jobs HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {small.api_key}\r\n"
        )
        head += "Content-Type: application/json\r\nContent-Length: 5\r\n\r\n"
        with (
            socket.create_connection((host, int(port)), timeout=10) as first,
            socket.create_connection((host, int(port)), timeout=10) as second,
        ):
            first.sendall(head.encode())
            time.sleep(0.3)
            second.sendall(head.encode())
            status, error = read_answer(second)
            assert (status, error["code"]) == (503, "server_overloaded")
            first.sendall(b"hello")
            assert read_answer(first)[0] == 400
