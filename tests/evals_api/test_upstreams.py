"""A second server of ours as the upstream: gateway, judge, answerer, and what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from tailor.cli.machine import examine
from tailor.errors import InvalidRequest, RateLimited, TailorError
from tailor.inference.upstreams import Gateway, Spent, read_upstreams, upstreams_file
from tailor.inference.upstreams.limits import Allowance
from tailor.protocol import ChatMessage, ChatRequest
from tailor.server import EmbeddedServer
from tests.evals_api.conftest import finished, plain, upstreams_toml

ASK: Any = [{"role": "user", "content": "Say something."}]
MODEL = "peer/tailor-mini-2"


def test_an_upstreams_models_are_listed_with_their_price(front: EmbeddedServer, front_client: Any) -> None:
    found = {model.id: model for model in front_client.models.list()}
    assert found[MODEL].owned_by == "peer"
    extra: Any = found[MODEL].model_extra
    assert (extra["tailor"]["input_price"], extra["tailor"]["output_price"]) == (0.5, 2.0)
    assert front_client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.PermissionDeniedError):
        front_client.models.delete(MODEL)


def test_the_gateway_answers_as_the_upstream_would_and_counts_the_cost(
    front: EmbeddedServer, front_client: Any, client: Any
) -> None:
    _, secret = front.instance.store.keys.create("counted", "test")
    there = client.chat.completions.create(
        model="tailor-mini-2", messages=ASK, max_tokens=8, temperature=0, seed=1
    )
    counted = front_client.with_options(api_key=secret)
    with plain(front, secret) as http:
        here = counted.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=8, temperature=0, seed=1, metadata={"a": "b"}
        )
        assert here.model == MODEL
        assert here.choices[0].message.content == there.choices[0].message.content
        assert here.usage == there.usage
        assert here.usage is not None
        stream = counted.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=8, temperature=0, seed=1, stream=True
        )
        chunks = list(stream)
        assert all(chunk.choices and chunk.usage is None and chunk.model == MODEL for chunk in chunks)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == (
            there.choices[0].message.content
        )
        assert chunks[-1].choices[0].finish_reason
        *_, last = counted.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=8, stream=True, stream_options={"include_usage": True}
        )
        assert last.choices == [] and last.usage is not None
        report = http.get("/v1/tailor/usage").json()
        [used] = report["data"]
        assert (used["model"], used["requests"]) == (MODEL, 3)
        assert used["prompt_tokens"] == 3 * here.usage.prompt_tokens
        cost = (used["prompt_tokens"] * 0.5 + used["completion_tokens"] * 2.0) / 1e6
        assert report["total_cost"] == used["cost"] == pytest.approx(cost)
        assert http.get("/v1/tailor/usage", params={"until": 1000}).json()["data"] == []
    with plain(front, front.instance.store.keys.create("poor", "test")[1]) as other:
        assert other.get("/v1/tailor/usage").json()["data"] == []


def test_a_reader_that_leaves_a_stream_frees_its_place(
    front: EmbeddedServer, evals_server: EmbeddedServer
) -> None:
    peer = front.instance.gateway._lines[MODEL].peer
    free = peer._turns._value
    body = {"model": MODEL, "messages": ASK, "stream": True, "n": 1, "temperature": 2, "max_tokens": 900}
    with (
        plain(front) as http,
        http.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        assert next(answer.iter_bytes()).startswith(b"data: ")
    until = time.monotonic() + 20
    while peer._turns._value != free:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_what_an_upstream_said_can_be_stored(front_client: Any) -> None:
    whole = front_client.chat.completions.create(
        model=MODEL, messages=ASK, max_tokens=4, store=True, metadata={"how": "whole"}
    )
    stored = front_client.chat.completions.retrieve(whole.id)
    assert stored.choices[0].message.content == whole.choices[0].message.content
    chunks = list(
        front_client.chat.completions.create(
            model=MODEL, messages=ASK, max_tokens=4, store=True, stream=True, metadata={"how": "stream"}
        )
    )
    [kept] = front_client.chat.completions.list(metadata={"how": "stream"})
    assert kept.choices[0].message.content == "".join(
        chunk.choices[0].delta.content or "" for chunk in chunks
    )


def test_an_upstreams_model_answers_and_judges_in_an_eval(front_client: Any) -> None:
    evaluation = front_client.evals.create(
        data_source_config={"type": "custom", "item_schema": {}, "include_sample_schema": True},
        testing_criteria=[
            {
                "type": "score_model",
                "name": "judge",
                "model": MODEL,
                "input": [{"role": "user", "content": "Score {{ sample.output_text }}"}],
                "sampling_params": {"max_completions_tokens": 2},
            }
        ],
    )
    run = front_client.evals.runs.create(
        evaluation.id,
        data_source={
            "type": "completions",
            "model": MODEL,
            "source": {"type": "file_content", "content": [{"item": {"q": str(n)}} for n in range(4)]},
            "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{ item.q }}"}]},
            "sampling_params": {"max_completion_tokens": 4},
        },
    )
    run = finished(front_client, run)
    assert run.status == "completed"
    [usage] = run.per_model_usage
    assert (usage.run_model_name, usage.invocation_count) == (MODEL, 8)
    grade = front_client.fine_tuning.alpha.graders.run(
        grader={
            "type": "score_model",
            "name": "judge",
            "model": MODEL,
            "input": [{"role": "user", "content": "Score it."}],
        },
        model_sample="x",
    )
    assert list(grade.api_model_grader_token_usage_per_model) == [MODEL]


def test_errors_of_the_upstream_are_ours_and_hold_no_key(
    front: EmbeddedServer, front_client: Any, evals_server: EmbeddedServer
) -> None:
    with pytest.raises(openai.BadRequestError, match="The upstream peer refuses the request") as refused:
        front_client.chat.completions.create(
            model=MODEL, messages=ASK, response_format={"type": "json_object"}
        )
    assert refused.value.code == "upstream_refused"
    with pytest.raises(openai.NotFoundError):
        front_client.chat.completions.create(model="peer/unknown", messages=ASK)
    log = (front.instance.config.home / "logs" / "server.log").read_text()
    assert evals_server.api_key not in log
    assert evals_server.api_key not in str(refused.value.body)


def test_callers_name_an_upstream_and_nothing_else_goes_out(tmp_path: Path) -> None:
    """Fields such as `api_base` would make some endpoints send their key elsewhere."""
    seen: list[dict[str, Any]] = []

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        import json

        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        seen.append({"headers": dict(scope["headers"]), "body": json.loads(body)})
        answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}}]}
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    spent: list[Spent] = []
    gateway = gateway_to(tmp_path, endpoint, record=lambda tenant, one: spent.append(one))
    request = ChatRequest.model_validate(
        {
            "model": "there/m",
            "messages": [{"role": "user", "content": "hello there"}],
            "api_base": "http://evil.example",
            "user_config": {"api_key": "x"},
            "extra_headers": {"a": "b"},
            "store": True,
            "temperature": 0.5,
        }
    )
    answer = asyncio.run(gateway.complete("tenant", request))
    assert answer["model"] == "there/m"
    assert seen[0]["body"] == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello there"}],
        "temperature": 0.5,
        "stream": False,
    }
    assert seen[0]["headers"][b"authorization"] == b"Bearer sk-canary"
    # Nothing said how much it was: an estimate.
    assert (spent[0].prompt_tokens, spent[0].completion_tokens) == (3, 1)


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected", "retry_after"),
    [
        (401, {}, b'{"error": {"message": "bad key sk-canary"}}', (502, "upstream_refuses_key"), None),
        (429, {"retry-after": "7"}, b"{}", (429, "upstream_rate_limit"), 7),
        (429, {"retry-after-ms": "250"}, b"", (429, "upstream_rate_limit"), 0.25),
        (429, {}, b'{"error": {"code": "insufficient_quota"}}', (502, "upstream_quota"), None),
        (400, {}, b'{"error": {"message": "no: sk-canary"}}', (400, "upstream_refused"), None),
        (500, {}, b"<html>", (503, "upstream_unavailable"), 5),
        (302, {"location": "http://evil.example"}, b"", (502, "upstream_failed"), None),
        (200, {}, b"<html>", (502, "upstream_nonsense"), None),
        (200, {}, b'{"choices": []}', (502, "upstream_nonsense"), None),
        (200, {}, b'{"choices": [{"message": "x"}]}', (502, "upstream_nonsense"), None),
    ],
)
def test_every_answer_that_is_none_is_an_error_of_ours(
    tmp_path: Path,
    status: int,
    headers: dict[str, str],
    body: bytes,
    expected: tuple[int, str],
    retry_after: float | None,
) -> None:
    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        sent = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": sent})
        await send({"type": "http.response.body", "body": body})

    gateway = gateway_to(tmp_path, endpoint)
    request = ChatRequest(model="there/m", messages=[ChatMessage(role="user", content="x")])
    for ask in (gateway.complete, gateway.stream) if status != 200 else (gateway.complete,):
        gateway = gateway_to(tmp_path, endpoint)
        with pytest.raises(TailorError) as failed:
            asyncio.run(getattr(gateway, ask.__name__)("tenant", request))
        assert (failed.value.status, failed.value.code) == expected
        assert failed.value.retry_after_seconds == retry_after
        assert "sk-canary" not in failed.value.sentence


def test_an_upstream_that_said_to_come_back_later_is_left_alone(tmp_path: Path) -> None:
    asked = 0

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += 1
        await send({"type": "http.response.start", "status": 429, "headers": [(b"retry-after", b"30")]})
        await send({"type": "http.response.body", "body": b"{}"})

    gateway = gateway_to(tmp_path, endpoint)
    request = ChatRequest(model="there/m", messages=[ChatMessage(role="user", content="x")])

    async def ask_twice() -> None:
        for _ in range(2):
            with pytest.raises(RateLimited):
                await gateway.complete("tenant", request)

    asyncio.run(ask_twice())
    assert asked == 1


def test_a_stream_that_breaks_off_is_no_whole_answer(tmp_path: Path) -> None:
    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        # U+2028 is text inside JSON, no end of a line.
        chunk = 'data: {"choices": [{"index": 0, "delta": {"content": "half\u2028"}}]}\n\n'
        await send({"type": "http.response.body", "body": chunk.encode()})

    spent: list[Spent] = []
    gateway = gateway_to(tmp_path, endpoint, record=lambda tenant, one: spent.append(one))
    request = ChatRequest(model="there/m", messages=[ChatMessage(role="user", content="x")], stream=True)

    async def read() -> list[str]:
        texts = []
        stream: AsyncIterator[Any] = aiter(await gateway.stream("tenant", request))
        with pytest.raises(TailorError, match="ended before it was whole"):
            async for chunk in stream:
                texts.append(chunk["choices"][0]["delta"]["content"])
        return texts

    assert asyncio.run(read()) == ["half\u2028"]
    assert [one.completion_tokens for one in spent] == [2]


def test_limits_let_through_what_the_operator_allows() -> None:
    now = 0.0
    allowance = Allowance("there", requests_per_minute=60, tokens_per_minute=600, clock=lambda: now)
    for _ in range(10):  # ten seconds' worth at once
        allowance.admit()
    with pytest.raises(RateLimited) as refused:
        allowance.admit()
    assert refused.value.retry_after_seconds == pytest.approx(1)
    now = 1.0
    allowance.admit()
    allowance.spend(700)  # an answer may overdraw: its size is known afterwards
    now = 2.0
    with pytest.raises(RateLimited) as refused:
        allowance.admit()
    assert refused.value.retry_after_seconds == pytest.approx(60, abs=2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a", "upstreams.toml is not as it should be"),
        ('[a]\nbase_url = "ftp://x"\n[a.models.m]', "a.base_url: should be an address"),
        ('[a]\nbase_url = "https://u:p@x"\n[a.models.m]', "no user name"),
        ('[a]\nbase_url = "https://x"', "a.models"),
        ('[a]\nbase_url = "https://x"\napi_key = "sk-canary"\n[a.models.m]', "a.api_key: is no setting"),
        ('["a/b"]\nbase_url = "https://x"\n["a/b".models.m]', "a/b"),
        ('[a]\nbase_url = "https://x"\n[a.models.m]\ninput_price = -1', "a.models.m.input_price"),
    ],
)
def test_a_file_with_a_mistake_says_where_and_never_what(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "upstreams.toml").write_text(text)
    with pytest.raises(InvalidRequest) as refused:
        read_upstreams(upstreams_file(tmp_path, {}), {})
    assert told in refused.value.sentence
    assert "sk-canary" not in refused.value.sentence


def test_a_missing_key_is_told_by_doctor_and_to_callers_without_its_name(
    tmp_path: Path, evals_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PEER_KEY", raising=False)
    (tmp_path / "upstreams.toml").write_text(upstreams_toml(evals_server))
    [finding] = [one for one in examine(tmp_path) if one.name == "upstreams"]
    assert finding.state == "advice"
    assert "PEER_KEY" in str(finding.remedy)
    monkeypatch.setenv("PEER_KEY", "sk-canary")
    [finding] = [one for one in examine(tmp_path) if one.name == "upstreams"]
    assert (finding.state, finding.detail) == ("ok", "peer: 1 model")
    monkeypatch.delenv("PEER_KEY")
    gateway = Gateway(read_upstreams(upstreams_file(tmp_path, {}), {}), record=lambda tenant, spent: None)
    request = ChatRequest(model=MODEL, messages=[ChatMessage(role="user", content="x")])
    with pytest.raises(TailorError, match="no key for the upstream peer") as refused:
        asyncio.run(gateway.complete("tenant", request))
    assert "PEER_KEY" not in refused.value.sentence


def gateway_to(directory: Path, endpoint: Any, *, record: Any = lambda tenant, spent: None) -> Gateway:
    """A gateway whose one upstream `there` is that ASGI application."""
    text = '[there]\nbase_url = "http://there/v1"\nkey_env = "KEY"\n[there.models.m]\ninput_price = 1.0\n'
    (directory / "upstreams.toml").write_text(text)
    gateway = Gateway(read_upstreams(directory / "upstreams.toml", {"KEY": "sk-canary"}), record=record)
    peer = gateway._lines["there/m"].peer
    peer._client = httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app=endpoint), headers={"authorization": "Bearer sk-canary"}
    )
    return gateway
