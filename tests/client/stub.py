"""A tiny server with scripted answers, so that a client can be watched against a server that misbehaves."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

JsonObject = dict[str, Any]
Route = Callable[["Asked"], tuple[int, Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(kw_only=True)
class Stub:
    """What the server answers, and what it was asked."""

    base_url: str = ""
    routes: dict[tuple[str, str], Route] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)

    def on(self, method: str, path: str, route: Route) -> None:
        """Answer `method /v1<path>` with what `route` returns: a status and a JSON value."""
        self.routes[(method, f"/v1{path}")] = route


@contextmanager
def serving(stub: Stub, *, port: int = 0) -> Iterator[Stub]:
    """The stub's server, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def _answer(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length") or 0))
            parts = urlsplit(self.path)
            is_json = self.headers.get("content-type") == "application/json" and raw
            asked = Asked(
                method=self.command,
                path=parts.path,
                query={key: values[0] for key, values in parse_qs(parts.query).items()},
                headers={key.lower(): value for key, value in self.headers.items()},
                body=json.loads(raw) if is_json else raw,
            )
            stub.asked.append(asked)
            route = stub.routes.get((self.command, parts.path))
            status, value = route(asked) if route else (404, error("No such route.", code="not_found"))
            payload = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(payload)))
            self.send_header("x-should-retry", "false")
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _answer

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    stub.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def error(message: str, *, code: str | None = None, param: str | None = None) -> JsonObject:
    """OpenAI's envelope."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


def job(status: str = "running", **changes: Any) -> JsonObject:
    """A job on the wire."""
    return {
        "id": "ftjob-1",
        "object": "fine_tuning.job",
        "created_at": 1,
        "finished_at": None,
        "model": "tiny",
        "fine_tuned_model": None,
        "organization_id": "local",
        "status": status,
        "training_file": "file-1",
        "validation_file": None,
        "result_files": [],
        "trained_tokens": None,
        "error": None,
        "hyperparameters": {"n_epochs": 1},
        "seed": 0,
        "estimated_finish": None,
        "integrations": [],
        "method": {"type": "supervised"},
        "metadata": None,
        "user_provided_suffix": None,
        "tailor": {"phase": "training", "step": 1, "total_steps": 2},
    } | changes


def event(number: int, *, message: str = "", **data: Any) -> JsonObject:
    """The event with this number; with data it is one of metrics."""
    return {
        "id": f"ftevent-{number}",
        "object": "fine_tuning.job.event",
        "created_at": number,
        "level": "info",
        "message": message or f"event {number}",
        "type": "metrics" if data else "message",
        "data": data,
    }


def page_of(events: list[JsonObject], asked: Asked) -> JsonObject:
    """The page of events that was asked for: newest first, after the cursor."""
    newest_first = events[::-1]
    after = asked.query.get("after")
    if after is not None:
        place = [item["id"] for item in newest_first].index(after)
        newest_first = newest_first[place + 1 :]
    limit = int(asked.query.get("limit", 20))
    return {"object": "list", "data": newest_first[:limit], "has_more": len(newest_first) > limit}
