"""Every answer carries its headers, and every failure the envelope."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

from tailor.server import EmbeddedServer

KEYS = {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/v1/files/", 404),
        ("PUT", "/v1/models", 405),
        ("DELETE", "/v1/fine_tuning/jobs", 405),
        ("OPTIONS", "/v1/models", 405),
        ("HEAD", "/v1/models", 405),
        ("GET", "/v1/files/%00", 400),
        ("GET", "/v1/files/%ff", 400),
        ("GET", "/v1/files/%ed%a0%80", 400),
        ("GET", "/v1/files?after=%00", 400),
        ("GET", "/v1/files?limit=x", 400),
        ("GET", "/v1/files?limit=1e999", 400),
        ("GET", "/v1/files?order=sideways", 400),
        ("GET", "/v1/fine_tuning/jobs?metadata=x", 400),
        ("GET", "/v1/files/" + "x" * 5000, 404),
        ("GET", "/v1/models/" + "x" * 5000, 404),
        ("GET", "/v1/files/..%2f..%2fetc%2fpasswd", 404),
        ("POST", "/v1/fine_tuning/jobs/x/cancel", 404),
    ],
)
def test_every_refusal_is_the_envelope(http: httpx2.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status, answer.text
    if method != "HEAD":
        assert answer.json()["error"].keys() >= KEYS
        assert answer.headers["content-type"] == "application/json"
    assert "allow" in answer.headers or status != 405


@pytest.mark.parametrize("limit", ["0", "-1", str(2**63), str(-(2**70)), "9" * 300])
def test_odd_limits_mean_the_default_or_the_most(http: httpx2.Client, limit: str) -> None:
    for path in ("/v1/files", "/v1/fine_tuning/jobs", "/v1/chat/completions"):
        assert http.get(path, params={"limit": limit}).status_code == 200


def test_answers_say_who_they_are(http: httpx2.Client) -> None:
    for path in ("/v1/models", "/v1/files/none", "/nowhere"):
        headers = http.get(path).headers
        assert re.fullmatch(r"req_\w{24}", headers["x-request-id"])
        assert int(headers["openai-processing-ms"]) >= 0
        assert headers["openai-version"] == "2020-10-01"
        assert headers["openai-organization"] == "local"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2_3", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("http://x", False)],
)
def test_a_harmless_request_id_is_kept(http: httpx2.Client, given: str, kept: bool) -> None:
    answer = http.get("/v1/models", headers={"x-request-id": given})
    assert (answer.headers["x-request-id"] == given) is kept


def test_our_own_fault_is_a_500_that_tells_nothing_but_an_incident(
    server: EmbeddedServer, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(server.instance.store.bases, "list", explode)
    answer = http.get("/v1/models")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("server_error", "internal_error")
    assert "secret detail" not in answer.text
    incident = re.search(r"incident-\w{12}", error["message"])
    assert incident
    log = (server.instance.config.home / "logs" / "server.log").read_text()
    assert incident[0] in log
    assert "ZeroDivisionError: secret detail" in log


def test_the_openapi_document_knows_every_route_and_its_errors(http: httpx2.Client) -> None:
    document = http.get("/openapi.json").json()
    operations = [
        (path, method, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    ]
    assert len(operations) >= 25
    for path, _, operation in operations:
        assert "422" not in operation["responses"]
        schema = operation["responses"]["4XX"]["content"]["application/json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ErrorEnvelope"}
        # A report's address holds a token for that one page, so a browser may open it without a key.
        by_address: list[dict[str, list[str]]] = (
            [{"key": []}, {}] if path.endswith("/report") and "/evals/" in path else [{"key": []}]
        )
        assert operation.get("security", document["security"]) == ([] if "z" in path[-5:] else by_address)
    assert "HTTPValidationError" not in document["components"]["schemas"]
