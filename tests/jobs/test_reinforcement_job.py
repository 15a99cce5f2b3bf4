"""Reinforcement jobs: from prompts and a grader to a version with its proof, killed or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tailor.errors import InvalidRequest
from tailor.jobs import check_method
from tailor.protocol import Method
from tailor.sandbox import SandboxMissing, find_sandbox
from tailor.server import EmbeddedServer
from tailor.store import Job, JobSpec, Store
from tests.faults.scene import BASE, TENANT, leftovers, remains_of
from tests.jobs.conftest import Work, a_store, log_of, rest, work_once

LIKENESS = {
    "type": "text_similarity",
    "name": "likeness",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.answer }}",
    "evaluation_metric": "fuzzy_match",
}


def prompts(count: int = 20, **fields: Any) -> bytes:
    rows = [
        {"messages": [{"role": "user", "content": f"Say word {n}."}], "answer": f"the word is {n}"} | fields
        for n in range(count)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def add_job(
    store: Store, *, rows: bytes | None = None, grader: dict[str, Any] | None = None, **options: Any
) -> Job:
    """Eight steps of four prompts with four answers each, looked at after every second."""
    file = store.files.add(TENANT, data=rows or prompts(), filename="prompts.jsonl", purpose="fine-tune")
    asked = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": "auto", "eval_interval": 1}
    options = {
        "hold_out": 4,
        "adapter": {"type": "lora", "rank": 4},
        "dtype": "float32",
        "learning_rate": 0.01,
        "checkpoint_every_steps": 2,
        "reinforcement": {"group_size": 4, "max_tokens": 8},
    } | options
    spec = JobSpec(
        requested_model=BASE,
        base=BASE,
        training_file=file.id,
        seed=5,
        method={
            "type": "reinforcement",
            "reinforcement": {"grader": grader or LIKENESS, "hyperparameters": asked},
        },
        hyperparameters=asked,
        options=options,
    )
    return store.jobs.add(TENANT, spec)


@pytest.fixture(scope="module")
def done(tiny_base: Path) -> Iterator[tuple[Store, Job]]:
    with a_store(tiny_base) as opened:
        yield opened, rest(opened, add_job(opened))


def metrics_of(store: Store, job: Job) -> list[dict[str, Any]]:
    events = reversed(store.jobs.events(TENANT, job.id, limit=1000).items)
    return [event.data for event in events if event.type == "metrics"]


def test_a_job_ends_with_a_version_that_is_proven_by_its_reward(done: tuple[Store, Job]) -> None:
    store, job = done
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None
    version = store.versions.get(TENANT, job.fine_tuned_model)
    proof = version.proof
    assert proof is not None
    assert proof["metric"] == proof["difference"]["metric"] == "reward"
    assert proof["num_items"] == 4
    assert 0 <= proof["arms"]["base"]["reward"] <= 1
    assert proof["arms"]["version"]["loss"] is None
    assert "mean reward" in proof["verdict"]
    assert proof["fixed"] + proof["broken"] + proof["unchanged"] == 4
    item = proof["items"][0]
    assert item["base_answer"] is not None and 0 <= item["version_reward"] <= 1
    assert leftovers(store.home) == []


def test_every_step_is_told_under_the_names_of_openai(done: tuple[Store, Job]) -> None:
    store, job = done
    rows = metrics_of(store, job)
    assert [row["step"] for row in rows] == list(range(1, 9))
    assert all(row["scores"]["graders"][0]["name"] == "likeness" for row in rows)
    assert all("full_valid_mean_reward" in row for row in rows)
    assert any(line.startswith("Step 1/8, train mean reward=0.") for line in log_of(store, job))
    csv = store.files.open(TENANT, job.result_files[0]).read().decode().split("\n")
    assert csv[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,")
    assert "train_mean_reward,full_valid_mean_reward" in csv[0]
    assert job.hyperparameters["eval_interval"] == 1
    assert job.method["reinforcement"]["grader"] == LIKENESS


def test_the_three_best_looks_are_kept_as_models(done: tuple[Store, Job]) -> None:
    store, job = done
    rewards = {row["step"]: row["full_valid_mean_reward"] for row in metrics_of(store, job)}
    best = sorted(list(rewards)[:-1], key=lambda step: (rewards[step], step))[-3:]
    kept = store.jobs.checkpoints(TENANT, job.id).items
    assert sorted(each.step for each in kept) == sorted(best)
    names = {version.id for version in store.versions.of_job(TENANT, job.id)}
    assert names == {each.name for each in kept} | {job.fine_tuned_model}
    assert all(store.weights.has(each.digest) for each in kept)


def test_lines_without_what_the_grader_needs_are_named_before_training(store: Store, work: Work) -> None:
    rows = prompts(12) + json.dumps({"messages": [{"role": "user", "content": "?"}]}).encode() + b"\n"
    job = work(add_job(store, rows=rows))
    assert job.status == "failed"
    assert job.error is not None
    assert job.error["param"] == "training_file"
    [problem] = job.error["problems"]
    assert (problem["line"], problem["field"], problem["code"]) == (13, "answer", "missing_grader_field")


def test_python_graders_run_in_the_sandbox(store: Store, work: Work) -> None:
    try:
        find_sandbox()
    except SandboxMissing as missing:
        pytest.skip(str(missing))
    source = 'def grade(sample, item):\n    return len(sample["output_text"]) / 100 if item["answer"] else 0'
    long = {"type": "python", "name": "long", "source": source, "pass_threshold": 0.2}
    multi = {"type": "multi", "graders": {"a": long, "b": LIKENESS}, "calculate_output": "a + 0.1 * b"}
    job = work(add_job(store, grader=multi, max_steps=2))
    assert job.status == "succeeded", job.error
    graders = metrics_of(store, job)[0]["scores"]["graders"]
    assert [(each["name"], each["type"]) for each in graders] == [("a", "python"), ("b", "text_similarity")]
    assert any(row["train_mean_reward"] > 0 for row in metrics_of(store, job))


@pytest.mark.parametrize(
    "point",
    [
        "after_step:4",
        pytest.param("before_publish_rename:3", marks=pytest.mark.slow),
        pytest.param("mid_write:state.safetensors:2", marks=pytest.mark.slow),
        pytest.param("before_publish", marks=pytest.mark.slow),
    ],
)
def test_a_killed_job_ends_with_the_same_bytes(
    done: tuple[Store, Job], store: Store, work: Work, point: str
) -> None:
    job = add_job(store)
    work_once(store, job)
    script = (
        "import sys; from pathlib import Path; from tailor.jobs.worker import main; "
        "sys.exit(main(['--home', sys.argv[1], '--phase', 'train', '--threads', '1', '--idle-seconds', '0']))"
    )
    died = subprocess.run(
        [sys.executable, "-c", script, str(store.home)],
        env=os.environ | {"TAILOR_FAULT": point, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert [reaped.id for reaped in store.queue.reap(lambda owner: "killed")] == [job.id]

    again = work(store.jobs.get(TENANT, job.id))

    assert again.status == "succeeded", again.error
    found, expected = remains_of(store, again.id), remains_of(done[0], done[1].id)
    assert [digest for _, digest in found.weights] == [digest for _, digest in expected.weights]
    assert found.csv == expected.csv
    assert [_untimed(row) for row in metrics_of(store, again)] == [_untimed(row) for row in metrics_of(*done)]
    assert leftovers(store.home) == []


def _untimed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "timing"}


def no_judge(grader: Any, param: str) -> None:
    raise InvalidRequest(f"Model {grader.model} does not exist.", param=param, code="model_not_found")


def checked(**method: Any) -> Any:
    wanted = Method.model_validate({"type": "reinforcement", "reinforcement": method or None})
    return check_method(wanted.reinforcement, lambda source, cases: [], no_judge)


def test_what_a_worker_cannot_grade_with_is_refused_when_the_job_is_made() -> None:
    judge = {
        "type": "score_model",
        "name": "judge",
        "model": "gpt-4o",
        "input": [{"role": "user", "content": "{{ sample.output_text }}"}],
    }
    for grader, param in (
        (judge, "method.reinforcement.grader.model"),
        (
            {"type": "multi", "graders": {"j": judge, "l": LIKENESS}, "calculate_output": "j + l"},
            "method.reinforcement.grader.graders.j.model",
        ),
    ):
        with pytest.raises(InvalidRequest) as refused:
            checked(grader=grader)
        assert (refused.value.param, refused.value.code) == (param, "model_not_found")
    with pytest.raises(InvalidRequest) as refused:
        checked(grader=LIKENESS | {"evaluation_metric": "cosine"})
    assert refused.value.param == "method.reinforcement.grader.evaluation_metric"
    with pytest.raises(InvalidRequest) as refused:
        checked(grader=LIKENESS, response_format={"type": "json_schema", "json_schema": {"name": "x"}})
    assert refused.value.param == "method.reinforcement.response_format"
    with pytest.raises(InvalidRequest, match="needs a grader"):
        checked()
    assert checked(grader=LIKENESS, response_format={"type": "text"}).grader.name == "likeness"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with (
        EmbeddedServer(tmp_path_factory.mktemp("home")) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as made,
    ):
        yield made


def test_a_hosted_script_runs_unchanged(client: openai.OpenAI) -> None:
    training = client.files.create(file=("train.jsonl", prompts(16)), purpose="fine-tune")
    validation = client.files.create(file=("valid.jsonl", prompts(4, split="valid")), purpose="fine-tune")
    grader: Any = {
        "type": "string_check",
        "name": "asks back",
        "operation": "like",
        "input": "{{ sample.output_text }}",
        "reference": "?",
    }
    assert client.fine_tuning.alpha.graders.validate(grader=grader).grader

    method: Any = {
        "type": "reinforcement",
        "reinforcement": {
            "grader": grader,
            "hyperparameters": {
                "n_epochs": 1,
                "batch_size": 4,
                "eval_interval": 2,
                "eval_samples": 1,
                "compute_multiplier": 0.5,
                "reasoning_effort": "medium",
            },
            "response_format": None,
        },
    }
    job = client.fine_tuning.jobs.create(
        model="o4-mini-2025-04-16",
        training_file=training.id,
        validation_file=validation.id,
        seed=1,
        method=method,
        extra_body={"tailor": {"reinforcement": {"max_tokens": 12}}},
    )
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error

    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    steps = [event for event in reversed(events) if event.type == "metrics"]
    assert len(steps) == 4
    assert steps[0].message.startswith("Step 1/4, train mean reward=")
    assert "full validation mean reward=" in steps[-1].message
    assert isinstance(steps[0].data, dict)
    assert {"scores", "usage", "errors", "timing", "total_steps"} <= steps[0].data.keys()
    told: Any = job.method
    assert told.reinforcement.hyperparameters.compute_multiplier == 0.5
    [checkpoint] = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert checkpoint.step_number == 2
    assert 0 <= checkpoint.metrics.model_dump()["full_valid_mean_reward"] <= 1
    assert job.fine_tuned_model in [model.id for model in client.models.list()]


@pytest.mark.parametrize(
    ("method", "param"),
    [
        ({"hyperparameters": {"n_epochs": 1}}, "method.reinforcement.grader"),
        ({"grader": {"type": "string_check", "name": "x"}}, "method.reinforcement.grader"),
        (
            {"grader": LIKENESS, "hyperparameters": {"compute_multiplier": 11}},
            "method.reinforcement.hyperparameters.compute_multiplier",
        ),
        ({"grader": LIKENESS | {"input": "{{ nothing }}"}}, "method.reinforcement.grader.input"),
        (
            {"grader": {"type": "python", "name": "p", "source": "def mark(a, b): return 1"}},
            "method.reinforcement.grader.source",
        ),
    ],
)
def test_a_wrong_request_is_refused_by_field(client: openai.OpenAI, method: Any, param: str) -> None:
    if "source" in param:
        try:
            find_sandbox()
        except SandboxMissing as missing:
            pytest.skip(str(missing))
    training = client.files.create(file=("train.jsonl", prompts(12)), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(
            model="gpt-4o-mini",
            training_file=training.id,
            method={"type": "reinforcement", "reinforcement": method},
        )
    assert str(refused.value.param).startswith(param)
