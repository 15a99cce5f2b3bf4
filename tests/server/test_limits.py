"""Bounds: what is refused before it is read, and memory that stays flat."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tailor.server import EmbeddedServer
from tailor.store import Store
from tests.server.test_access import address

MIB = 1024 * 1024


def connect(server: EmbeddedServer, path: str, *headers: str) -> socket.socket:
    """A connection on which the head of a POST has been sent."""
    connection = socket.create_connection(address(server), timeout=20)
    lines = "".join(f"{header}\r\n" for header in headers)
    connection.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n".encode())
    return connection


def read_answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    length = 0
    while (line := stream.readline()) not in (b"\r\n", b""):
        name, _, value = line.decode().partition(":")
        if name.lower() == "content-length":
            length = int(value)
    body = json.loads(stream.read(length)) if length else {}
    return status, body.get("error", {})


def parts_left(store: Store) -> list[Path]:
    return [path for path in store.home.rglob(".part-*") if path.is_file()]


def test_a_wrong_key_is_refused_before_the_body_is_read(server: EmbeddedServer) -> None:
    with connect(
        server,
        "/v1/files",
        "Authorization: Bearer sk-wrong",
        "Content-Type: multipart/form-data; boundary=b",
        f"Content-Length: {500 * MIB}",
    ) as connection:
        connection.sendall(b"x" * MIB)
        status, error = read_answer(connection)
    assert (status, error["code"]) == (401, "invalid_api_key")


@pytest.mark.parametrize(
    ("path", "kind", "length"),
    [
        ("/v1/files", "multipart/form-data; boundary=b", 514 * MIB),
        ("/v1/chat/completions", "application/json", 8 * MIB + 1),
        ("/v1/fine_tuning/jobs", "application/json", MIB + 1),
        ("/v1/fine_tuning/jobs", "application/json", 10**30),
    ],
)
def test_a_body_announced_too_large_is_refused_before_it_is_read(
    server: EmbeddedServer, path: str, kind: str, length: int
) -> None:
    key = f"Authorization: Bearer {server.api_key}"
    with connect(server, path, key, f"Content-Type: {kind}", f"Content-Length: {length}") as connection:
        status, error = read_answer(connection)
    assert (status, error["code"]) in ((413, "too_large"), (400, "invalid_http"))


def test_a_body_that_grows_too_large_is_refused_on_the_way(server: EmbeddedServer) -> None:
    key = f"Authorization: Bearer {server.api_key}"
    headers = (key, "Content-Type: application/json", "Transfer-Encoding: chunked")
    with connect(server, "/v1/fine_tuning/jobs", *headers) as connection:
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        for _ in range(18):
            connection.sendall(chunk)
        status, error = read_answer(connection)
    assert (status, error["code"]) == (413, "too_large")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-encoding": "gzip", "content-type": "application/json"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=b"}, 415),
        ({"content-type": "application/json; charset=utf-8"}, 400),
        ({"content-encoding": "identity", "content-type": "application/json"}, 400),
    ],
)
def test_json_routes_take_plain_json_only(http: httpx2.Client, headers: dict[str, str], status: int) -> None:
    answer = http.post("/v1/fine_tuning/jobs", content=b"{}", headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_an_empty_body_needs_no_type(http: httpx2.Client) -> None:
    answer = http.post("/v1/fine_tuning/jobs/ftjob-none/cancel", headers={"content-type": "application/json"})
    assert answer.status_code == 404
    assert http.post("/v1/fine_tuning/jobs").status_code == 400


def form(size: int) -> Iterator[bytes]:
    yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
    block = b"0123456789abcde\n" * 4096
    for _ in range(size // len(block)):
        yield block
    yield b"\r\n--b--\r\n"


def memory_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


def upload_with_flat_memory(http: httpx2.Client, size: int) -> float:
    """Upload so many bytes; how many MiB the process grew at most."""
    before, most, ended = memory_mib(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.01):
            most = max(most, memory_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answer = http.post(
            "/v1/files", content=form(size), headers={"content-type": "multipart/form-data; boundary=b"}
        )
    finally:
        ended.set()
        watcher.join()
    assert answer.status_code == 200, answer.text
    assert answer.json()["bytes"] == size
    http.delete(f"/v1/files/{answer.json()['id']}")
    return most - before


def test_an_upload_keeps_memory_flat(http: httpx2.Client) -> None:
    assert upload_with_flat_memory(http, 64 * MIB) < 32


@pytest.mark.slow
def test_a_large_upload_keeps_memory_flat(http: httpx2.Client) -> None:
    assert upload_with_flat_memory(http, 448 * MIB) < 64


def test_uploads_that_break_off_leave_nothing(server: EmbeddedServer, store: Store) -> None:
    before = {path.name for path in (store.home / "blobs").rglob("*") if path.is_file()}
    key = f"Authorization: Bearer {server.api_key}"
    whole = b"".join(form(2 * MIB))
    for size in (0, 10, 200, 70_000, MIB, len(whole) - 4):
        with connect(
            server,
            "/v1/files",
            key,
            "Content-Type: multipart/form-data; boundary=b",
            f"Content-Length: {len(whole)}",
        ) as connection:
            connection.sendall(whole[:size])
            time.sleep(0.05)
    deadline = time.monotonic() + 10
    while parts_left(store) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not parts_left(store)
    assert {path.name for path in (store.home / "blobs").rglob("*") if path.is_file()} == before


def test_what_is_not_http_gets_the_envelope_too(server: EmbeddedServer) -> None:
    with socket.create_connection(address(server), timeout=10) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        status, error = read_answer(connection)
    assert (status, error["code"]) == (400, "invalid_http")
    with socket.create_connection(address(server), timeout=10) as connection:
        connection.sendall(b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\n\r\n")
        status, error = read_answer(connection)
    assert (status, error["code"]) == (400, "invalid_http")
