"""What callers are told about how much they may send, and when to come back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tailor.errors import Unavailable
from tailor.inference import EngineLimits, GenerationRequest, LocalEngine, ModelKey, SamplingParameters
from tailor.server import EmbeddedServer
from tailor.server.layers.failures import envelope
from tailor.server.layers.rates import as_duration
from tailor.server.weights import StoredWeights
from tailor.store import Store

BODY: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 2,
}
DURATION = re.compile(r"(\d+m\d+s|\d+(\.\d+)?s|\d+ms)")


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0ms"),
        (0.0115, "12ms"),
        (1, "1s"),
        (8.64, "8.64s"),
        (59.9999, "1m0s"),
        (360, "6m0s"),
        (61.2, "1m2s"),
    ],
)
def test_durations_are_written_as_openai_does(seconds: float, written: str) -> None:
    assert as_duration(seconds) == written


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"max_tokens": -1}, {"model": "none"}])
def test_every_answer_of_the_model_tells_what_may_still_be_sent(
    http: httpx2.Client, more: dict[str, Any]
) -> None:
    limits = EngineLimits()

    headers = http.post("/v1/chat/completions", json=BODY | more).headers

    assert headers["x-ratelimit-limit-requests"] == str(limits.max_queued_requests_per_tenant)
    # The head of a stream is sent while its own request may still be waiting.
    assert 0 <= limits.max_queued_requests_per_tenant - int(headers["x-ratelimit-remaining-requests"]) <= 1
    assert headers["x-ratelimit-limit-tokens"] == str(limits.max_queued_prompt_tokens)
    assert 0 <= limits.max_queued_prompt_tokens - int(headers["x-ratelimit-remaining-tokens"]) < 100
    assert headers["x-ratelimit-reset-requests"] == headers["x-ratelimit-reset-tokens"] == "0ms"
    assert headers["openai-version"] == "2020-10-01"
    assert int(headers["openai-processing-ms"]) >= 0


def test_other_routes_and_strangers_are_told_nothing(http: httpx2.Client) -> None:
    wrong = {"authorization": "Bearer sk-wrong"}
    for answer in (
        http.get("/v1/models"),
        http.get("/v1/chat/completions"),
        http.post("/v1/chat/completions", json=BODY, headers=wrong),
    ):
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


def test_a_caller_over_the_bound_gets_the_figures_with_the_429(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = EngineLimits(
        max_queued_requests=6, max_queued_requests_per_tenant=4, max_queued_prompt_tokens=90
    )
    waiting: list[Any] = []

    def full_engine(store: Store) -> LocalEngine:
        """Not started: what it takes waits."""
        engine = LocalEngine(StoredWeights(store), limits)
        base = store.bases.default()
        assert base is not None
        for tenant, n in (("default", 3), ("others", 2)):
            asked = GenerationRequest(
                model=ModelKey(base=base.digest),
                prompt_ids=[5] * 10,
                tenant=tenant,
                n=n,
                parameters=SamplingParameters(max_tokens=1),
            )
            waiting.append(engine.submit(asked))
        monkeypatch.setattr(engine._schedule, "num_running", limits.max_running)
        return engine

    monkeypatch.setattr("tailor.server.run.local_engine", full_engine)
    monkeypatch.setattr("tailor.inference.local.LocalEngine.health", healthy(LocalEngine.health))
    with EmbeddedServer(tmp_path, run_jobs=False) as server:
        answer = httpx2.post(
            f"{server.base_url}/chat/completions",
            json=BODY | {"n": 2},
            headers={"authorization": f"Bearer {server.api_key}"},
            trust_env=False,
        )

    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert answer.headers["x-ratelimit-limit-requests"] == "4"
    assert answer.headers["x-ratelimit-remaining-requests"] == "1"
    assert answer.headers["x-ratelimit-limit-tokens"] == "90"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "70"
    # Five answers wait for 64 slots whose answers are taken to last a second.
    assert answer.headers["x-ratelimit-reset-requests"] == "79ms"
    assert DURATION.fullmatch(answer.headers["x-ratelimit-reset-tokens"])
    assert 750 <= int(answer.headers["retry-after-ms"]) <= 1250


def test_those_who_are_sent_away_together_do_not_come_back_together() -> None:
    error = Unavailable("full", retry_after_seconds=20.0)

    answers = [envelope(error).headers for _ in range(50)]

    moments = [int(headers["retry-after-ms"]) for headers in answers]
    assert all(15_000 <= moment <= 25_000 for moment in moments)
    assert len(set(moments)) > 40
    assert all(15 <= int(headers["retry-after"]) <= 25 for headers in answers)
    assert len({headers["retry-after"] for headers in answers}) > 4


def healthy(health: Any) -> Any:
    """An engine that was never started is not dead."""
    from dataclasses import replace

    return lambda engine: replace(health(engine), is_alive=True)
