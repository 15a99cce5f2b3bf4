"""Models side by side on the same items, and a promotion that goes by it."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx2
import pytest

from tailor.server import EmbeddedServer
from tests.server.making import finish_job, jsonl

BASE = "tailor-mini-2"


@pytest.fixture(scope="module")
def versions(evals_server: EmbeddedServer) -> list[str]:
    """Two versions that answer differently from the base and from each other."""
    return made(evals_server, "compared")


def made(evals_server: EmbeddedServer, suffix: str) -> list[str]:
    store = evals_server.instance.store
    job = finish_job(store, "default", suffix=suffix)
    return [version.id for version in store.versions.of_job("default", job.id)]


def uploaded(http: httpx2.Client, rows: list[dict[str, Any]]) -> str:
    sent = http.post("/v1/files", files={"file": ("cases.jsonl", jsonl(rows))}, data={"purpose": "user_data"})
    return str(sent.json()["id"])


def answers(http: httpx2.Client, model: str, count: int) -> list[dict[str, Any]]:
    """Cases that the model passes: its own answers are the references."""
    rows = []
    for number in range(count):
        messages = [{"role": "user", "content": f"Tell me about the number {number}."}]
        asked = {"model": model, "messages": messages, "temperature": 0, "max_completion_tokens": 8}
        said = http.post("/v1/chat/completions", json=asked).json()["choices"][0]["message"]["content"]
        rows.append({"messages": messages, "reference": said.strip()})
    return rows


def source(model: str) -> dict[str, Any]:
    row = {"item": {"messages": [{"role": "user", "content": "a"}], "reference": "b"}}
    return {
        "type": "completions",
        "model": model,
        "source": {"type": "file_content", "content": [row]},
        "input_messages": {"type": "item_reference", "item_reference": "item.messages"},
    }


def compared(http: httpx2.Client, **asked: Any) -> dict[str, Any]:
    begun = http.post("/v1/tailor/comparisons", json=asked)
    assert begun.status_code == 201, begun.text
    found: dict[str, Any] = begun.json()
    while found["status"] == "in_progress":
        time.sleep(0.1)
        found = http.get(f"/v1/tailor/comparisons/{found['id']}").json()
    return found


def test_models_are_compared_on_the_same_items(http: httpx2.Client, versions: list[str]) -> None:
    cases = answers(http, BASE, 12)
    file = uploaded(http, cases)

    found = compared(http, models=[BASE, *versions], file=file, max_tokens=8)

    assert (found["status"], found["num_items"], found["metric"]) == ("completed", 12, "pass_rate")
    assert [model["model"] for model in found["models"]] == [BASE, *versions]
    assert found["models"][0]["score"] == 1.0
    for pair in found["pairs"]:
        assert pair["against"] == BASE and pair["verdict"] == "worse" and pair["broken"] >= 11
        assert "corrected for 2 comparisons" in pair["difference"]["test"]
        assert sum(each["count"] for each in pair["clusters"]) == pair["broken"] + pair["fixed"]
    assert {item["line"] for item in found["items"]} <= set(range(1, 13))
    assert found["items"][0]["expected"] == cases[found["items"][0]["line"] - 1]["reference"]
    page = http.get(f"/v1/tailor/comparisons/{found['id']}", params={"format": "html"})
    assert page.text.startswith("<!doctype html>") and "is worse than" in page.text


def test_promotion_goes_by_a_comparison_where_no_proofs_speak(
    http: httpx2.Client, evals_server: EmbeddedServer
) -> None:
    one, other = made(evals_server, "promoted")
    forced = {"model": one, "force": True, "reason": "first of all"}
    assert http.post("/v1/tailor/aliases/prod", json=forced).status_code == 200
    assert http.post("/v1/tailor/aliases/prod", json={"model": other}).json()["error"]["code"] == (
        "comparison_needed"
    )
    file = uploaded(http, answers(http, one, 12))
    found = compared(http, models=["prod", other], file=file, max_tokens=8)
    assert found["models"][0]["model"] == one
    refused = http.post("/v1/tailor/aliases/prod", json={"model": other}).json()["error"]
    assert refused["code"] == "promotion_refused"
    assert refused["gate"]["evidence"] == f"comparison {found['id']}"

    theirs = uploaded(http, answers(http, other, 12))
    better = compared(http, models=["prod", other], file=theirs, max_tokens=8)
    moved = http.post("/v1/tailor/aliases/prod", json={"model": other, "comparison": better["id"]}).json()
    assert moved["model"] == other and moved["history"][0]["gate"]["verdict"] == "better"
    # A run asks what the alias meant when it was created, whatever becomes of the alias.
    run = http.post(f"/v1/evals/{better['id']}/runs", json={"data_source": source("prod")}).json()
    assert run["model"] == other and run["data_source"]["model"] == other


def test_patterns_and_long_answers_are_judged_by_what_they_are(
    http: httpx2.Client, versions: list[str]
) -> None:
    patterned = [
        {"messages": [{"role": "user", "content": f"case {n}"}], "expected_patterns": ["zzzz"][: 1 + n % 1]}
        for n in range(4)
    ]
    found = compared(http, models=[BASE, versions[0]], file=uploaded(http, patterned), max_tokens=4)
    assert [model["score"] for model in found["models"]] == [0.0, 0.0]
    assert found["pairs"][0]["verdict"] == "no proof of a difference"

    long = [
        {"messages": [{"role": "user", "content": f"story {n}"}], "reference": "once upon a time " * 20}
        for n in range(4)
    ]
    scored = compared(http, models=[BASE, versions[0]], file=uploaded(http, long), max_tokens=16, limit=3)
    assert scored["metric"] in ("score", "pass_rate") and scored["num_items"] == 3


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"models": [BASE]}, "invalid_value"),
        ({"models": [BASE, BASE]}, "invalid_value"),
        ({"models": [BASE, "nothing"]}, "model_not_found"),
        ({"models": [BASE, "gpt-4o"]}, "invalid_value"),
    ],
)
def test_what_cannot_be_compared_is_refused(http: httpx2.Client, asked: dict[str, Any], code: str) -> None:
    refused = http.post("/v1/tailor/comparisons", json=asked)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error["message"] and json.dumps(error)


def test_a_comparison_of_another_tenant_does_not_exist(
    http: httpx2.Client, stranger: httpx2.Client, versions: list[str]
) -> None:
    found = compared(http, models=[BASE, versions[0]], file=uploaded(http, answers(http, BASE, 2)))
    assert stranger.get(f"/v1/tailor/comparisons/{found['id']}").status_code == 404
    asked = {"models": [BASE, "gpt-4o"], "file": found["file"]}
    assert stranger.post("/v1/tailor/comparisons", json=asked).status_code == 400
