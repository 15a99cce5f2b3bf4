"""Who gets in: every route of the live table with every kind of credential."""

from __future__ import annotations

import itertools
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from tailor.server import EmbeddedServer
from tailor.server.app import create_routes
from tailor.server.calls import Services, check_permissions
from tailor.server.layers import PUBLIC_PATHS
from tailor.store import Job, Store


def live_routes(server: EmbeddedServer) -> list[tuple[str, str]]:
    """Method and path of every route that needs a key, ids filled in."""
    routes = create_routes(_services(server)).routes
    found = [
        (method, re.sub(r"\{[^}]*\}", "some-id", route.path))
        for route in routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
        if route.path not in PUBLIC_PATHS
    ]
    assert len(found) > 20
    return found


def _services(server: EmbeddedServer) -> Services:
    app: Any = server.instance.app
    while not isinstance(app, FastAPI):
        app = app.app if hasattr(app, "app") else _inside(app)
    services: Services = app.state.services
    return services


def _inside(counted: Any) -> Any:
    """The application inside the traffic layer, which is a closure."""
    cells = (cell.cell_contents for cell in counted.__closure__)
    return next(content for content in cells if hasattr(content, "app"))


def ask(server: EmbeddedServer, head: str) -> int:
    """The status that answers a request given by its literal head."""
    host, port = address(server)
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(head.encode("latin-1"))
        answer = connection.makefile("rb").readline()
    return int(answer.split()[1])


def address(server: EmbeddedServer) -> tuple[str, int]:
    host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    return host, int(port)


@pytest.fixture(scope="module")
def revoked(store: Store) -> str:
    key, secret = store.keys.create("default", "gone")
    store.keys.revoke("default", key.id)
    return secret


def credentials(server: EmbeddedServer, revoked: str) -> Iterator[tuple[str, dict[str, str]]]:
    good = server.api_key
    yield "none", {}
    yield "wrong", {"authorization": "Bearer sk-wrong"}
    yield "wrong secret", {"authorization": f"Bearer {good[:-1]}{'a' if good[-1] != 'a' else 'b'}"}
    yield "revoked", {"authorization": f"Bearer {revoked}"}
    yield "empty", {"authorization": "Bearer "}
    yield "basic", {"authorization": f"Basic {good}"}
    yield "cookie", {"cookie": f"authorization=Bearer {good}; api_key={good}; session={good}"}
    yield "api-key header", {"api-key": good, "x-api-key": good}
    yield "long", {"authorization": "Bearer " + "x" * 5000}
    yield "not ascii", {"authorization": "Bearer sk-\xe9"}
    yield "two headers", {"authorization": f"Bearer {good}", "Authorization": f"Bearer {good}"}


def test_without_a_key_every_route_answers_401(server: EmbeddedServer, revoked: str) -> None:
    host, _ = address(server)
    cells = 0
    for (method, path), (name, headers) in itertools.product(
        live_routes(server), credentials(server, revoked)
    ):
        lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
        status = ask(server, f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n")
        assert status == 401, (method, path, name)
        cells += 1
    assert cells > 200


@pytest.mark.parametrize(
    "target",
    [
        "/unknown",
        "/",
        "//v1/models",
        "/v1//models",
        "/%76%31/models",
        "/v1/models/",
        "/healthz/",
        "/healthz/../v1/models",
        "/healthz%2f..%2fv1%2fmodels",
        "/healthz%3f/v1/models",
        "/healthz;/v1/models",
        "/HEALTHZ",
        "//healthz",
        "/v1/models?path=/healthz",
        "/v1/%2e%2e/healthz",
        "/docs",
        "/redoc",
        "/openapi.json",
        "http://127.0.0.1/v1/models",
        "http://127.0.0.1/healthz",
        "/v1/files/%00",
        "/v1/files/..%2f..%2ftailor.db",
    ],
)
def test_no_way_of_writing_a_path_gets_past_the_key(server: EmbeddedServer, target: str) -> None:
    assert ask(server, f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == 401


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "a/?x=",
        "127.0.0.1/healthz?",
        "localhost@evil.example",
        "127.0.0.1:80:80",
        "",
        "[::1",
        "0.0.0.0",
        "127.0.0.1 ",
    ],
)
@pytest.mark.parametrize("path", ["/v1/models", "/healthz"])
def test_only_our_own_names_are_answered_for(server: EmbeddedServer, host: str, path: str) -> None:
    expected = {421} if host != "127.0.0.1 " else {401, 200}
    assert ask(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n") in expected | {400}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8000", "[::1]:8000"])
def test_loopback_names_are_ours(server: EmbeddedServer, host: str) -> None:
    assert ask(server, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n") == 200


def test_a_request_without_a_host_is_nobodys(server: EmbeddedServer) -> None:
    assert ask(server, "GET /healthz HTTP/1.0\r\n\r\n") == 421


def test_a_foreign_object_looks_exactly_like_an_unknown_one(
    server: EmbeddedServer, http: httpx2.Client, stranger: openai.OpenAI, tuned: Job, store: Store
) -> None:
    """For every kind of id: the stranger gets for ours, byte by byte, what they get for nothing."""
    kept = http.post(
        "/v1/chat/completions",
        json={
            "model": "tailor-mini-2",
            "messages": [{"role": "user", "content": "a"}],
            "store": True,
            "n": 1,
        },
    ).json()["id"]
    pairs = [
        (
            tuned.training_file,
            "file-" + "0" * 24,
            ["/v1/files/ID", "/v1/files/ID/content", "/v1/tailor/files/ID/report"],
        ),
        (
            tuned.id,
            "ftjob-" + "0" * 24,
            [f"/v1/fine_tuning/jobs/ID{verb}" for verb in ("", "/events", "/checkpoints")],
        ),
        (
            str(tuned.fine_tuned_model),
            "ft:tailor-mini-2:local:mails:00000000",
            ["/v1/models/ID", "/v1/tailor/models/ID/proof"],
        ),
        (kept, "chatcmpl-" + "0" * 24, [f"/v1/chat/completions/ID{verb}" for verb in ("", "/messages")]),
    ]
    posts = [f"/v1/fine_tuning/jobs/ID/{verb}" for verb in ("cancel", "pause", "resume")]
    with httpx2.Client(
        base_url=server.base_url.removesuffix("/v1"),
        headers={"authorization": f"Bearer {stranger.api_key}"},
        trust_env=False,
    ) as theirs:
        for ours, unknown, paths in pairs:
            requests = [("GET", path) for path in paths] + [("DELETE", paths[0])]
            requests += [("POST", path) for path in posts if "ftjob" in ours]
            if "ftjob" in ours:
                requests.remove(("DELETE", paths[0]))
            for method, path in requests:
                foreign = theirs.request(method, path.replace("ID", ours))
                nothing = theirs.request(method, path.replace("ID", unknown))
                assert foreign.status_code == nothing.status_code == 404, (method, path)
                assert foreign.content.replace(ours.encode(), unknown.encode()) == nothing.content
        create = {"model": "tailor-mini-2", "training_file": tuned.training_file}
        assert theirs.post("/v1/fine_tuning/jobs", json=create).status_code == 400
        chat = {"model": tuned.fine_tuned_model, "messages": [{"role": "user", "content": "a"}]}
        assert theirs.post("/v1/chat/completions", json=chat).status_code == 404
        for path in ("/v1/files", "/v1/fine_tuning/jobs", "/v1/chat/completions"):
            assert theirs.get(path).json()["data"] == []
        names = [model["id"] for model in theirs.get("/v1/models").json()["data"]]
        assert not [name for name in names if name.startswith("ft:")]
    assert http.get(f"/v1/files/{tuned.training_file}").status_code == 200


def test_health_needs_no_key_and_everything_else_declares_what_it_needs(server: EmbeddedServer) -> None:
    with httpx2.Client(base_url=server.base_url.removesuffix("/v1"), trust_env=False) as anyone:
        assert anyone.get("/healthz").json() == {"status": "ok"}
        assert anyone.get("/readyz").json() == {"status": "ok"}
    careless = APIRouter()

    @careless.get("/v1/secret")
    def secret() -> str:
        return "oops"

    with pytest.raises(RuntimeError, match="declares no permission"):
        check_permissions(careless.routes)


def test_secrets_are_in_no_log(server: EmbeddedServer, http: httpx2.Client) -> None:
    canary = "canary-8d1f"
    http.post(
        "/v1/chat/completions", json={"model": canary, "messages": [{"role": "user", "content": canary}]}
    )
    http.get("/v1/models", headers={"authorization": f"Bearer {canary}"}, params={"after": canary})
    log = (server.instance.config.home / "logs" / "server.log").read_text()
    assert "/v1/models" in log
    assert canary not in log
    assert server.api_key not in log
