"""The client's verbs against a scripted server: what is sent, what is shown, how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Tailor, mail, write_rows
from tests.client.stub import Asked, JsonObject, Stub, error, event, job, page_of, serving

BASE = "tiny"
MODEL = "ft:tiny:local:mail:AAAAAAAA"
ROWS = [mail(f"where is parcel {number}", "order") for number in range(12)]


def arm(model: str, score: float) -> JsonObject:
    return {
        "model": model,
        "score": score,
        "interval": {"low": score - 0.1, "high": score + 0.05},
        "loss": 0.5,
        "token_accuracy": score,
        "prompt_tokens": 1000,
        "completion_tokens": 20,
        "latency_p50_ms": 12.0,
        "latency_p95_ms": 34.0,
    }


PROOF = {
    "object": "tailor.proof",
    "created_at": 1,
    "model": MODEL,
    "base": BASE,
    "data": "held out from file-1",
    "file": None,
    "num_items": 20,
    "num_overlap": 1,
    "metric": "pass_rate",
    "arms": {"base": arm(BASE, 0.25), "version": arm(MODEL, 0.9)},
    "difference": {
        "metric": "pass_rate",
        "mean": 0.65,
        "interval": {"low": 0.4, "high": 0.8},
        "p_value": 0.0002,
        "test": "exact McNemar test",
    },
    "fixed": 14,
    "broken": 1,
    "unchanged": 5,
    "items": [
        {
            "line": 3,
            "outcome": "fixed",
            "passed": True,
            "prompt": "\x1b[2Jwhere is it",
            "expected": "order",
            "base_answer": "spam",
            "version_answer": "order",
            "base_loss": 3.0,
            "version_loss": 0.1,
        }
    ],
    "train_loss": 0.1,
    "train_held_out_gap": 0.05,
    "verdict": "Better: 90 % right against 25 %.",
    "notes": [],
    "settings": {},
}


def answer(asked: Asked) -> tuple[int, Any]:
    is_tuned = asked.body["model"] == MODEL
    return 200, {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": asked.body["model"],
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "order" if is_tuned else "spam"},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4},
    }


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A server with one base, one version, one finished job."""
    models = [
        {
            "id": BASE,
            "object": "model",
            "created": 1,
            "owned_by": "tailor",
            "tailor": {"kind": "base", "default": True},
        },
        {
            "id": MODEL,
            "object": "model",
            "created": 2,
            "owned_by": "local",
            "tailor": {"kind": "version", "base": BASE},
        },
    ]
    stub = Stub()
    stub.on("GET", "/models", lambda _: (200, {"object": "list", "data": models}))
    stub.on("GET", f"/models/{BASE}", lambda _: (200, models[0]))
    stub.on("GET", f"/models/{MODEL}", lambda _: (200, models[1]))
    stub.on("GET", f"/tailor/models/{MODEL}/proof", lambda _: (200, PROOF))
    stub.on("POST", "/chat/completions", answer)
    stub.on("POST", "/files", lambda _: (200, FILE))
    stub.on("POST", "/fine_tuning/jobs", lambda _: (200, job("validating_files")))
    script(stub, job("succeeded", fine_tuned_model=MODEL))
    with serving(stub):
        monkeypatch.setenv("TAILOR_BASE_URL", stub.base_url)
        monkeypatch.setenv("TAILOR_API_KEY", "sk-test")
        yield stub


FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 1,
    "created_at": 1,
    "filename": "train.jsonl",
    "purpose": "fine-tune",
    "status": "processed",
    "expires_at": None,
    "status_details": None,
}


def script(stub: Stub, end: JsonObject) -> None:
    """The job goes through queue and training, then ends so."""
    states = [
        job("queued", tailor={"queue_position": 2}),
        job("running", tailor={"phase": "training", "step": 2, "total_steps": 2}),
        end,
    ]
    written = [
        event(1, message="Created fine-tuning job: ftjob-1"),
        event(2, step=1, total_steps=2, train_loss=2.5),
        event(3, step=2, total_steps=2, train_loss=0.5, full_valid_loss=0.6),
        event(4, message="\x1b]0;evil\x07The job has successfully completed"),
    ]
    looks = iter([*states, *[end] * 10])
    stub.on("GET", "/fine_tuning/jobs/ftjob-1", lambda _: (200, next(looks)))
    stub.on("GET", "/fine_tuning/jobs/ftjob-1/events", lambda asked: (200, page_of(written, asked)))


def test_training_shows_its_course_its_proof_and_the_next_step(
    tailor: Tailor, stub: Stub, tmp_path: Path
) -> None:
    result = tailor("train", write_rows(tmp_path / "train.jsonl", ROWS), "--suffix", "mail", "--epochs", "2")
    assert result.exit_code == 0, result.output
    for words in (
        "valid: 12/12",
        "waiting, 2 jobs ahead",
        "2.500 █▁ 0.500",
        "25.0 % (15.0 to 30.0)",
        "90.0 % (80.0 to 95.0)",
        "Better: 90 % right against 25 %.",
        "fixed 14, broken 1, unchanged 5",
        "exact McNemar test",
        "1 of these prompts",
        f"tailor chat {MODEL}",
        "from openai import OpenAI",
    ):
        assert words in result.stdout
    assert "\x1b" not in result.stdout
    asked = next(asked for asked in stub.asked if asked.path.endswith("/jobs") and asked.method == "POST")
    assert asked.body["model"] == BASE
    assert asked.body["method"]["supervised"]["hyperparameters"] == {"n_epochs": 2}


def test_training_as_json_leaves_standard_output_to_the_program(
    tailor: Tailor, stub: Stub, tmp_path: Path
) -> None:
    result = tailor("train", write_rows(tmp_path / "train.jsonl", ROWS), "--json")
    found = json.loads(result.stdout)
    assert found["job"]["fine_tuned_model"] == MODEL
    assert found["proof"]["difference"]["p_value"] == 0.0002
    assert "valid: 12/12" in result.stderr


def test_a_failed_job_gives_its_reason_and_exit_code_1(tailor: Tailor, stub: Stub, tmp_path: Path) -> None:
    reason = {"code": "invalid_training_file", "message": "Line 3 is no good.", "param": "training_file"}
    script(stub, job("failed", error=reason))
    result = tailor("train", write_rows(tmp_path / "train.jsonl", ROWS))
    assert result.exit_code == 1
    assert "The job is failed. Line 3 is no good." in result.stdout


def test_bad_data_is_never_sent(tailor: Tailor, stub: Stub, tmp_path: Path) -> None:
    result = tailor("train", write_rows(tmp_path / "train.jsonl", [*ROWS, "[1]"]))
    assert result.exit_code == 1
    assert "Nothing was sent" in result.stdout
    assert stub.asked == []


def test_a_detached_job_is_left_to_the_server(tailor: Tailor, stub: Stub, tmp_path: Path) -> None:
    result = tailor("train", write_rows(tmp_path / "train.jsonl", ROWS), "--detach")
    assert result.exit_code == 0
    assert "tailor jobs follow ftjob-1" in result.stdout


def test_ctrl_c_leaves_the_job_and_says_how_to_go_on(
    tailor: Tailor, stub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tailor.client.endpoint.time.sleep", interrupt)
    result = tailor("train", write_rows(tmp_path / "train.jsonl", ROWS))
    assert result.exit_code == 130
    assert "tailor jobs follow ftjob-1" in result.stdout


def test_a_bad_suffix_is_a_users_mistake(tailor: Tailor, stub: Stub, tmp_path: Path) -> None:
    result = tailor("train", write_rows(tmp_path / "train.jsonl", ROWS), "--suffix", "my model")
    assert result.exit_code == 2
    assert "suffix" in result.stderr


def test_an_evaluation_compares_with_the_base(tailor: Tailor, stub: Stub, tmp_path: Path) -> None:
    cases = write_rows(
        tmp_path / "cases.jsonl",
        [
            {"messages": [{"role": "user", "content": f"parcel {n}"}], "expected_patterns": ["ORDER"]}
            for n in range(3)
        ],
    )
    found = json.loads(tailor("eval", MODEL, cases, "--json").stdout)
    assert (found["total"], found["passed"], found["failed"], found["pass_rate"]) == (3, 3, 0, 1.0)
    assert found["comparison"]["fixed"] == 3
    assert found["comparison"]["against"]["failures"][0] == {
        "line": 1,
        "input": "parcel 0",
        "expected": ["ORDER"],
        "actual": "spam",
    }
    shown = tailor("eval", MODEL, cases)
    assert shown.exit_code == 0
    assert "fixed 3, broken 0, unchanged 0" in shown.stdout
    assert (
        json.loads(tailor("eval", MODEL, cases, "--against", "none", "--json").stdout)["comparison"] is None
    )


def test_an_evaluation_can_be_a_gate(tailor: Tailor, stub: Stub, tmp_path: Path) -> None:
    cases = write_rows(tmp_path / "cases.jsonl", [mail("parcel", "order"), mail("bill", "invoice")])
    assert tailor("eval", MODEL, cases, "--at-least", "0.5").exit_code == 0
    assert tailor("eval", MODEL, cases, "--at-least", "0.6").exit_code == 1


def test_jobs_and_models_are_listed(tailor: Tailor, stub: Stub) -> None:
    page = {"object": "list", "data": [job("succeeded", fine_tuned_model=MODEL)], "has_more": False}
    stub.on("GET", "/fine_tuning/jobs", lambda _: (200, page))
    assert MODEL in tailor("jobs").stdout
    assert json.loads(tailor("jobs", "list", "--json").stdout)[0]["id"] == "ftjob-1"
    assert "tiny" in tailor("models").stdout
    assert [model["id"] for model in json.loads(tailor("models", "--json").stdout)] == [BASE, MODEL]
    assert json.loads(tailor("models", "show", MODEL, "--json").stdout)["tailor"]["base"] == BASE
    assert json.loads(tailor("models", "proof", MODEL, "--json").stdout)["fixed"] == 14
    assert "status  queued" in tailor("jobs", "show", "ftjob-1").stdout
    assert "Created fine-tuning job" in tailor("jobs", "events", "ftjob-1").stdout


def test_the_servers_sentence_reaches_the_user(tailor: Tailor, stub: Stub) -> None:
    stub.on("GET", "/models/absent", lambda _: (404, error("The model 'absent' does not exist.")))
    result = tailor("models", "show", "absent")
    assert result.exit_code == 2
    assert result.stderr == "The model 'absent' does not exist.\n"


def test_nobody_there_is_exit_code_3(tailor: Tailor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILOR_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("TAILOR_API_KEY", "sk-test")
    result = tailor("models")
    assert result.exit_code == 3
    assert "No server answers at http://127.0.0.1:9/v1." in result.stderr


def test_one_question_as_json(tailor: Tailor, stub: Stub) -> None:
    found = json.loads(tailor("chat", MODEL, "where is it", "--json").stdout)
    assert (found["text"], found["model"]) == ("order", MODEL)
    assert json.loads(tailor("chat", MODEL, "--json", typed="where is it").stdout)["text"] == "order"


def test_nothing_to_ask_is_a_users_mistake(tailor: Tailor, stub: Stub) -> None:
    assert tailor("chat", MODEL, typed="").exit_code == 2
