"""The evals API at its edges: pages, filters, refusals, cancelling, strangers, and the page for people."""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

import httpx2
import openai
import pytest

from tailor.server import EmbeddedServer
from tests.evals_api.conftest import Finish

CHECK: Any = {
    "type": "string_check",
    "name": "exact",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}
CONFIG = {"type": "custom", "item_schema": {"type": "object", "required": ["answer"]}}
TEMPLATE = {"type": "template", "template": [{"role": "user", "content": "{{ item.question }}"}]}


def make(http: httpx2.Client, *criteria: Any, **more: Any) -> Any:
    body = {"data_source_config": CONFIG, "testing_criteria": list(criteria) or [CHECK]} | more
    answer = http.post("/v1/evals", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()


def rows(*answers: str) -> Any:
    content = [{"item": {"answer": "Rome"}, "sample": {"output_text": answer}} for answer in answers]
    return {"type": "jsonl", "source": {"type": "file_content", "content": content}}


def start(http: httpx2.Client, evaluation: Any, source: Any, **more: Any) -> Any:
    answer = http.post(f"/v1/evals/{evaluation['id']}/runs", json={"data_source": source} | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def done(http: httpx2.Client, run: Any) -> Any:
    path = f"/v1/evals/{run['eval_id']}/runs/{run['id']}"
    for _ in range(1200):
        run = http.get(path).json()
        if run["status"] in ("completed", "failed"):
            return run
        time.sleep(0.05)
    raise AssertionError(run)


def items_of(http: httpx2.Client, run: Any, **query: Any) -> Any:
    path = f"/v1/evals/{run['eval_id']}/runs/{run['id']}/output_items"
    return http.get(path, params=query).json()["data"]


def test_an_eval_is_shown_with_its_whole_schema_and_can_be_renamed(client: Any) -> None:
    made = client.evals.create(
        name="first",
        data_source_config={
            "type": "custom",
            "item_schema": {"type": "object"},
            "include_sample_schema": True,
        },
        testing_criteria=[CHECK],
        metadata={"a": "b"},
    )
    schema: Any = made.data_source_config.schema_
    assert schema["properties"]["item"] == {"type": "object"}
    assert "output_text" in schema["properties"]["sample"]["properties"]
    assert client.evals.retrieve(made.id).to_dict() == made.to_dict()
    changed = client.evals.update(made.id, name="second")
    assert (changed.name, changed.metadata) == ("second", {"a": "b"})
    assert client.evals.update(made.id, metadata={"c": "d"}).metadata == {"c": "d"}
    assert client.evals.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError) as gone:
        client.evals.retrieve(made.id)
    assert gone.value.code == "eval_not_found"


def test_lists_come_in_pages_by_creation_or_by_change(evals_server: EmbeddedServer) -> None:
    _, secret = evals_server.instance.store.keys.create("pages", "test")
    client = openai.OpenAI(base_url=evals_server.base_url, api_key=secret, max_retries=0)
    made = [
        client.evals.create(
            name=str(number),
            data_source_config={"type": "logs"},
            testing_criteria=[CHECK],
        ).id
        for number in range(5)
    ]
    assert [one.id for one in client.evals.list(limit=2)] == made
    assert [one.id for one in client.evals.list(limit=2, order="desc")] == made[::-1]
    client.evals.update(made[1], name="changed")
    by_change = [made[0], *made[2:], made[1]]
    assert [one.id for one in client.evals.list(limit=2, order_by="updated_at")] == by_change


def test_runs_are_listed_by_status_and_rows_by_what_came_of_them(http: httpx2.Client) -> None:
    evaluation = make(http)
    first = done(http, start(http, evaluation, rows("Rome", "Paris", "Rome"), name="first"))
    broken = {"item": {"answer": "Rome"}}  # nothing to grade: the criterion has no sample
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [broken]}}
    second = done(http, start(http, evaluation, source, metadata={"n": "2"}))
    listed = http.get(f"/v1/evals/{evaluation['id']}/runs").json()["data"]
    assert [run["id"] for run in listed] == [first["id"], second["id"]]
    by_status = http.get(f"/v1/evals/{evaluation['id']}/runs", params={"status": "failed"}).json()
    assert by_status["data"] == []
    assert [item["datasource_item_id"] for item in items_of(http, first, status="pass")] == [0, 2]
    assert [item["datasource_item_id"] for item in items_of(http, first, order="desc")] == [2, 1, 0]
    assert second["result_counts"] == {"total": 1, "passed": 0, "failed": 0, "errored": 1}
    [item] = items_of(http, second, status="error")
    [result] = item["results"]
    assert result["passed"] is False
    assert result["tailor"]["errors"] == {"invalid_variable_error": True}
    assert "sample.output_text" in result["tailor"]["problems"][0]


def test_a_row_that_cannot_be_asked_is_an_error_of_its_own(http: httpx2.Client) -> None:
    evaluation = make(http)
    content = [{"item": {"answer": "Rome", "question": "Where?"}}, {"item": {"answer": "Rome"}}]
    source = {
        "type": "completions",
        "model": "gpt-4o",
        "input_messages": TEMPLATE,
        "source": {"type": "file_content", "content": content},
        "sampling_params": {"max_completion_tokens": 2},
    }
    run = done(http, start(http, evaluation, source))
    assert run["status"] == "completed"
    assert run["result_counts"]["errored"] == 1
    [item] = items_of(http, run, status="error")
    assert item["sample"]["error"]["code"] == "invalid_prompt"
    assert "item.question" in item["sample"]["error"]["message"]


def test_nested_paths_lead_into_rows_and_tool_calls(http: httpx2.Client) -> None:
    nested = CHECK | {
        "input": "{{ sample.output_tools[0].function.arguments.city }}",
        "reference": "{{item.expected.cities[1].name}}",
    }
    evaluation = make(http, nested, data_source_config={"type": "custom", "item_schema": {}})
    call = {"id": "1", "type": "function", "function": {"name": "go", "arguments": '{"city": "Rome"}'}}
    row = {
        "item": {"expected": {"cities": [{"name": "Oslo"}, {"name": "Rome"}]}},
        "sample": {"output_text": "", "output_tools": [call]},
    }
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [row]}}
    assert done(http, start(http, evaluation, source))["result_counts"]["passed"] == 1


def test_a_file_with_wrong_rows_fails_the_run_and_names_them(http: httpx2.Client) -> None:
    evaluation = make(http)
    lines = [{"item": {"answer": "a"}}, {"answer": "b"}, {"item": {}}, "text"]
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines) + b"{"
    upload = {"file": ("rows.jsonl", data)}
    file = http.post("/v1/files", data={"purpose": "evals"}, files=upload).json()
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file["id"]}}
    run = done(http, start(http, evaluation, source))
    assert (run["status"], run["error"]["code"]) == ("failed", "invalid_rows")
    for told in ("line 2: has no object under 'item'", "line 3: item.answer is missing", "line 4", "line 5"):
        assert told in run["error"]["message"]
    assert items_of(http, run) == []


def test_a_run_is_cancelled_on_both_paths_and_only_once(http: httpx2.Client) -> None:
    evaluation = make(http)
    for verb in ("", "/cancel"):
        slow = {
            "type": "completions",
            "model": "gpt-4o",
            "input_messages": TEMPLATE,
            "source": {
                "type": "file_content",
                "content": [{"item": {"answer": "", "question": str(n)}} for n in range(500)],
            },
        }
        run = start(http, evaluation, slow)
        path = f"/v1/evals/{evaluation['id']}/runs/{run['id']}"
        cancelled = http.post(path + verb)
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "canceled")
        again = http.post(path + verb)
        assert (again.status_code, again.json()["error"]["code"]) == (400, "run_not_cancelable")
        before = len(items_of(http, run))
        time.sleep(0.3)
        assert len(items_of(http, run)) <= before + 8
        assert http.delete(path).json() == {
            "run_id": run["id"],
            "object": "eval.run.deleted",
            "deleted": True,
        }
        assert http.get(path).status_code == 404


def test_the_same_run_sent_again_after_a_lost_answer_is_one_run(http: httpx2.Client) -> None:
    evaluation = make(http)
    path = f"/v1/evals/{evaluation['id']}/runs"
    body = {"data_source": rows("Rome"), "name": "once"}
    first = http.post(path, json=body).json()
    again = http.post(path, json=body, headers={"x-stainless-retry-count": "1"}).json()
    meant = http.post(path, json=body).json()
    assert first["id"] == again["id"] != meant["id"]


@pytest.mark.parametrize(
    ("change", "param", "told"),
    [
        ({"testing_criteria": []}, "testing_criteria", "at least 1"),
        ({"testing_criteria": [{}]}, "testing_criteria[0]", "string_check"),
        ({"data_source_config": {"type": "x"}}, "data_source_config", "custom, logs"),
        (
            {"testing_criteria": [CHECK, CHECK | {"input": "{{ x }}"}]},
            "testing_criteria[1].input",
            "item or sample",
        ),
        (
            {
                "testing_criteria": [
                    {
                        "type": "text_similarity",
                        "name": "n",
                        "input": "a",
                        "reference": "b",
                        "evaluation_metric": "bleu",
                    }
                ]
            },
            "testing_criteria[0]",
            "pass_threshold",
        ),
        (
            {
                "testing_criteria": [
                    {
                        "type": "score_model",
                        "name": "n",
                        "model": "ft:none:none::12345678",
                        "input": [{"role": "user", "content": "x"}],
                    }
                ]
            },
            "testing_criteria[0].model",
            "does not exist",
        ),
        (
            {"data_source_config": {"type": "custom", "item_schema": {"type": "thing"}}},
            "data_source_config.item_schema",
            "thing",
        ),
        (
            {"data_source_config": {"type": "custom", "item_schema": {"$ref": "http://evil.example/"}}},
            "data_source_config.item_schema",
            "does not lead into the schema",
        ),
    ],
)
def test_an_eval_that_could_not_grade_is_refused_by_field(
    http: httpx2.Client, change: Any, param: str, told: str
) -> None:
    body = {"data_source_config": CONFIG, "testing_criteria": [CHECK]} | change
    answer = http.post("/v1/evals", json=body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert told in answer.json()["error"]["message"]


ONE_ROW = {"type": "file_content", "content": [{"item": {"answer": "a"}}]}


@pytest.mark.parametrize(
    ("source", "param"),
    [
        ({"type": "jsonl", "source": {"type": "file_content", "content": []}}, "data_source.source.content"),
        (
            {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {}}]}},
            "data_source",
        ),
        ({"type": "jsonl", "source": {"type": "file_id", "id": "file-none"}}, "data_source.source.id"),
        ({"type": "jsonl", "source": {"type": "stored_completions"}}, "data_source.type"),
        ({"type": "responses", "source": {"type": "responses"}}, "data_source.source.type"),
        ({"type": "completions", "source": ONE_ROW, "model": "gpt-4o"}, "data_source.input_messages"),
        (
            {
                "type": "completions",
                "source": ONE_ROW,
                "model": "ft:none:none::12345678",
                "input_messages": TEMPLATE,
            },
            "data_source.model",
        ),
        (
            {
                "type": "completions",
                "source": ONE_ROW,
                "model": "gpt-4o",
                "input_messages": TEMPLATE,
                "sampling_params": {"response_format": {"type": "json_object"}},
            },
            "response_format",
        ),
        (
            {
                "type": "completions",
                "source": ONE_ROW,
                "model": "gpt-4o",
                "input_messages": {"type": "item_reference", "item_reference": "item.}}"},
            },
            "data_source.input_messages.item_reference",
        ),
    ],
)
def test_a_run_that_could_not_be_done_is_refused_before_it_begins(
    http: httpx2.Client, source: Any, param: str
) -> None:
    answer = http.post(f"/v1/evals/{make(http)['id']}/runs", json={"data_source": source})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_what_is_a_strangers_looks_like_what_is_nobodys(http: httpx2.Client, stranger: httpx2.Client) -> None:
    evaluation = make(http)
    run = done(http, start(http, evaluation, rows("Rome")))
    [item] = items_of(http, run)
    ours = {"E": evaluation["id"], "R": run["id"], "I": item["id"]}
    nobodys = {"E": "eval_" + "0" * 24, "R": "evalrun_" + "0" * 24, "I": "outputitem_" + "0" * 24}
    asked = [
        ("GET", "/v1/evals/E"),
        ("POST", "/v1/evals/E"),
        ("DELETE", "/v1/evals/E"),
        ("GET", "/v1/evals/E/runs"),
        ("GET", "/v1/evals/E/runs/R"),
        ("POST", "/v1/evals/E/runs/R"),
        ("POST", "/v1/evals/E/runs/R/cancel"),
        ("DELETE", "/v1/evals/E/runs/R"),
        ("GET", "/v1/evals/E/runs/R/output_items"),
        ("GET", "/v1/evals/E/runs/R/output_items/I"),
        ("GET", "/v1/evals/E/runs/R/report"),
    ]
    for method, path in asked:
        body: Any = {"json": {}} if path == "/v1/evals/E" and method == "POST" else {}
        foreign, nothing = (stranger.request(method, filled(path, ids), **body) for ids in (ours, nobodys))
        assert foreign.status_code == nothing.status_code == 404, (method, path)
        same = foreign.text
        for letter in "ERI":
            same = same.replace(ours[letter], nobodys[letter])
        assert same == nothing.text
    run_body = {"data_source": rows("Rome")}
    assert stranger.post(f"/v1/evals/{evaluation['id']}/runs", json=run_body).status_code == 404
    assert stranger.get("/v1/evals").json()["data"] == []
    assert http.get(f"/v1/evals/{evaluation['id']}/runs/{run['id']}").status_code == 200
    # A run is found under its own eval only.
    other = make(http)
    assert http.get(f"/v1/evals/{other['id']}/runs/{run['id']}").status_code == 404


def filled(path: str, ids: dict[str, str]) -> str:
    return "/".join(ids.get(part, part) for part in path.split("/"))


def test_the_report_opens_with_its_address_alone_and_runs_nothing(
    http: httpx2.Client, evals_server: EmbeddedServer
) -> None:
    evaluation = make(http, name="<script>alert(1)</script>")
    content = [{"item": {"answer": "<img src=x onerror=alert(1)>"}, "sample": {"output_text": "</pre><b>"}}]
    source = {"type": "jsonl", "source": {"type": "file_content", "content": content}}
    run = done(http, start(http, evaluation, source, name="report"))
    url = run["report_url"]
    with httpx2.Client(trust_env=False) as anyone:
        page = anyone.get(url)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "script-src" not in page.headers["content-security-policy"]
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "<script" not in page.text and "<img" not in page.text and "</pre><b>" not in page.text
        assert "0 passed" in page.text
        address, _, token = url.partition("?token=")
        wrong = token[:-1] + ("a" if token[-1] != "a" else "b")
        other = done(http, start(http, evaluation, rows("Rome")))
        for bad in (
            address,
            f"{address}?token={wrong}",
            f"{address}?token=",
            f"{address}?x=1&token={token}",
            f"{address}/?token={token}",
            f"{address.removesuffix('/report')}?token={token}",
            f"{address.removesuffix('/report')}/output_items?token={token}",
            f"{other['report_url'].partition('?')[0]}?token={token}",
            f"{evals_server.base_url}/evals?token={token}",
        ):
            assert anyone.get(bad).status_code == 401, bad
        assert anyone.post(url).status_code == 401
        assert anyone.delete(url).status_code == 401
    assert http.get(address).status_code == 200  # with the key
    assert http.delete(f"/v1/evals/{run['eval_id']}/runs/{run['id']}").status_code == 200
    assert httpx2.get(url, trust_env=False).status_code == 401
    log = (evals_server.instance.config.home / "logs" / "server.log").read_text()
    assert token not in log


def test_inline_rows_may_be_many_and_are_shown_cut(client: Any, finish: Finish) -> None:
    evaluation = client.evals.create(
        data_source_config=CONFIG,
        testing_criteria=[CHECK],
    )
    answers = list(itertools.islice(itertools.cycle(["Rome", "Paris"]), 250))
    run = finish(client.evals.runs.create(evaluation.id, data_source=rows(*answers)))
    assert run.result_counts.to_dict() == {"total": 250, "passed": 125, "failed": 125, "errored": 0}
    assert len(run.data_source.source.content) == 100
    assert run.model_extra["tailor"]["num_rows"] == 250
    listed = list(client.evals.runs.output_items.list(run.id, eval_id=evaluation.id, limit=60))
    assert [item.datasource_item_id for item in listed] == list(range(250))
