"""Distillation jobs: a teacher's logits or its answers, given ones, asked ones and the student's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tailor.jobs.plans import plan
from tailor.jobs.settings import WorkerSettings
from tailor.models import inspect
from tailor.models.creation import train_tokenizer
from tailor.protocol import new_id
from tailor.server import EmbeddedServer
from tailor.store import Job, JobSpec, Store
from tests.faults.scene import BASE, TENANT, add_base, leftovers, remains_of
from tests.jobs.conftest import log_of, rest, work_once
from tests.jobs.test_model_graders import KILLED
from tests.jobs.test_reinforcement_job import metrics_of
from tests.models.tiny import tiny_directory

TEACHER = "professor"
OTHER = "stranger"
FOREIGNER = "foreigner"
SHORT_SIGHTED = "short-sighted"
SHORT = {
    "type": "string_check",
    "name": "not that",
    "input": "{{ sample.output_text }}",
    "operation": "ne",
    "reference": "{{ item.never }}",
}


def rows(count: int = 20, *, with_answers: bool = False, **fields: Any) -> bytes:
    made = []
    for number in range(count):
        messages = [{"role": "user", "content": f"Say word {number}."}]
        if with_answers:
            messages.append({"role": "assistant", "content": f"the word is {number}"})
        made.append({"messages": messages} | fields)
    return b"".join(json.dumps(row).encode() + b"\n" for row in made)


def add_job(
    store: Store,
    data: bytes,
    *,
    teacher: str = TEACHER,
    distillation: dict[str, Any] | None = None,
    **method: Any,
) -> Job:
    file = store.files.add(TENANT, data=data, filename="lessons.jsonl", purpose="fine-tune")
    asked = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": "auto"}
    spec = JobSpec(
        requested_model=BASE,
        base=BASE,
        training_file=file.id,
        seed=5,
        method={
            "type": "distillation",
            "distillation": {"teacher": teacher, "hyperparameters": asked} | method,
        },
        hyperparameters=asked,
        options={
            "hold_out": 4,
            "adapter": {"type": "lora", "rank": 4},
            "dtype": "float32",
            "learning_rate": 0.01,
            "checkpoint_every_steps": 2,
            "distillation": {"max_tokens": 8} | (distillation or {}),
        },
    )
    return store.jobs.add(TENANT, spec)


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    directory = tmp_path_factory.mktemp("bases")
    with EmbeddedServer(tmp_path_factory.mktemp("home"), run_jobs=False) as started:
        store = started.instance.store
        add_base(store, tiny_base)
        add_base(store, tiny_directory(directory / "teacher", "qwen3", vocab_size=8192), TEACHER)
        other = tiny_directory(directory / "other", "qwen2", vocab_size=8192)
        tokens = json.loads((other / "tokenizer.json").read_text())
        words = tokens["model"]["vocab"]
        words["a"], words["b"] = words["b"], words["a"]
        (other / "tokenizer.json").write_text(json.dumps(tokens))
        add_base(store, other, OTHER)
        add_base(store, _foreigner(directory / "foreigner"), FOREIGNER)
        add_base(store, _foreigner(directory / "short", max_position_embeddings=64), SHORT_SIGHTED)
        yield started


def _foreigner(directory: Path, **overrides: Any) -> Path:
    """A base with a tokenizer of its own."""
    tiny_directory(directory, "qwen3", vocab_size=285, initializer_range=0.1, **overrides)
    train_tokenizer(
        [f"the word is {i} and {7 * i} hello hello" for i in range(300)], directory, vocab_size=270
    )
    return directory


@pytest.fixture(scope="module")
def store(server: EmbeddedServer) -> Store:
    return server.instance.store


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[openai.OpenAI]:
    _, secret = server.instance.store.keys.create(TENANT, "test")
    with openai.OpenAI(base_url=server.base_url, api_key=secret, max_retries=0) as made:
        yield made


def test_given_answers_teach_what_the_teacher_expects_there(store: Store) -> None:
    job = rest(store, add_job(store, rows(with_answers=True)))
    assert job.status == "succeeded", job.error
    steps = metrics_of(store, job)
    assert steps[-1]["full_valid_loss"] < steps[3]["full_valid_loss"]
    version = store.versions.get(TENANT, str(job.fine_tuned_model))
    assert version.recipe["imitation"]["teacher"] == store.bases.get(TEACHER).digest
    assert version.proof is not None and version.proof["num_items"] == 4
    assert not any("answered" in line for line in log_of(store, job))
    assert leftovers(store.home) == []


def test_without_answers_the_student_writes_and_the_teacher_corrects(store: Store) -> None:
    job = rest(store, add_job(store, rows()))
    assert job.status == "succeeded", job.error
    assert [row["train_own_answers_share"] for row in metrics_of(store, job)] == [1.0] * 8
    assert f"{TEACHER} answered 4 held-out prompts" in log_of(store, job)
    assert not any("training prompts" in line for line in log_of(store, job))


def test_a_teacher_with_other_tokens_is_learned_from_by_its_answers(store: Store) -> None:
    job = rest(store, add_job(store, rows(never="?"), teacher=OTHER, grader=SHORT))
    log = log_of(store, job)
    # A random model seldom ends: its answers are cut off, and there is nothing to learn.
    assert any("16 training answers were not whole" in line for line in log)
    assert job.status == "failed" and job.error is not None
    assert job.error["code"] == "no_good_answers"


def test_stored_answers_are_taken_instead_of_asking_and_a_grader_rejects(store: Store) -> None:
    for number in range(20):
        choice = {"index": 0, "message": {"content": f"word {number}"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
        store.completions.add(
            TENANT,
            completion_id=new_id("completion"),
            model=OTHER,
            messages=[{"role": "user", "content": f"Say word {number}."}],
            answer={"id": "a", "created": 0, "model": OTHER, "choices": [choice], "usage": usage},
        )
    data = rows(never="word 3")
    job = rest(store, add_job(store, data, teacher=OTHER, grader=SHORT))
    assert job.status == "succeeded", job.error
    assert any("1 training answers did not pass the grader" in line for line in log_of(store, job)) != any(
        "1 held-out answers did not pass the grader" in line for line in log_of(store, job)
    )
    version = store.versions.get(TENANT, str(job.fine_tuned_model))
    assert version.recipe["imitation"] is None
    assert version.proof is not None
    assert {item["expected"] for item in version.proof["items"]} < {f"word {number}" for number in range(20)}
    assert [key for key in store.keys.list(TENANT) if key.name == job.id] == [], "nobody was asked"


@pytest.mark.parametrize("own_share", [0.0, 1.0])
def test_logits_of_a_teacher_with_other_tokens_are_compared_where_both_say_the_same(
    store: Store, own_share: float
) -> None:
    data = rows(with_answers=True)
    wanted = {"signal": "logits", "own_share": own_share}
    job = rest(store, add_job(store, data, teacher=FOREIGNER, distillation=wanted))
    assert job.status == "succeeded", job.error
    assert any("another tokenizer" in line and "approximately" in line for line in log_of(store, job))
    steps = metrics_of(store, job)
    assert {row.get("train_own_answers_share", 0.0) for row in steps} == {own_share}
    assert all(row["train_tokens_per_stretch"] >= 1.0 for row in steps)
    assert steps[-1]["full_valid_loss"] < steps[3]["full_valid_loss"]


def test_a_plan_counts_the_teacher(store: Store) -> None:
    def planned(**more: Any) -> Any:
        job = add_job(store, rows(with_answers=True), **more)
        spec = JobSpec(
            requested_model=BASE,
            base=BASE,
            training_file=job.training_file,
            seed=5,
            method=job.method,
            hyperparameters=job.hyperparameters,
            options=job.options,
        )
        store.jobs.cancel(TENANT, job.id)
        return plan(store, TENANT, spec, WorkerSettings(num_threads=1, idle_seconds=0.0))

    answers, logits = planned(teacher=OTHER), planned(teacher=TEACHER)
    teacher = inspect(Path(store.bases.get(TEACHER).directory))
    assert logits.memory.base_bytes == answers.memory.base_bytes + 4 * teacher.num_parameters
    assert answers.seconds is None and logits.seconds > 0
    assert planned(teacher=TEACHER, distillation={"own_share": 0.5}).seconds is None


def test_a_teacher_that_reads_nothing_that_the_student_says_is_refused(store: Store) -> None:
    long = rows(with_answers=True).replace(b"Say word", b"Say word " + b"tell " * 40)
    job = rest(store, add_job(store, long, teacher=SHORT_SIGHTED, distillation={"signal": "logits"}))
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == ("nothing_aligned", "method.distillation.teacher")
    assert "answers" in job.error["message"]


def test_what_the_teacher_cannot_give_is_refused(store: Store) -> None:
    job = rest(store, add_job(store, rows(), teacher=OTHER, distillation={"own_share": 0.5}))
    assert job.error is not None
    assert (job.error["param"], "only answers" in job.error["message"]) == (
        "tailor.distillation.own_share",
        True,
    )
    assert '"signal": "logits"' in job.error["message"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("teacher", "own_share"), [(TEACHER, 0.0), (TEACHER, 0.5), (FOREIGNER, 0.0), (FOREIGNER, 0.5)]
)
def test_a_killed_job_ends_with_the_same_bytes(store: Store, teacher: str, own_share: float) -> None:
    data = rows(with_answers=True)
    wanted = {"own_share": own_share, "signal": "logits"}
    straight = rest(store, add_job(store, data, teacher=teacher, distillation=wanted))
    job = add_job(store, data, teacher=teacher, distillation=wanted)
    work_once(store, job)
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(store.home)],
        env=os.environ | {"TAILOR_FAULT": "after_step:5", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    assert store.queue.reap(lambda owner: "killed")
    again = rest(store, store.jobs.get(TENANT, job.id))
    assert again.status == straight.status == "succeeded", again.error
    found, expected = remains_of(store, again.id), remains_of(store, straight.id)
    assert [digest for _, digest in found.weights] == [digest for _, digest in expected.weights]
    assert found.csv == expected.csv


@pytest.mark.parametrize(
    ("method", "param"),
    [
        ({}, "method.distillation.teacher"),
        ({"teacher": "nobody"}, "method.distillation.teacher"),
        ({"teacher": TEACHER, "grader": SHORT | {"input": "{{ x }}"}}, "method.distillation.grader"),
        ({"teacher": TEACHER, "pass_threshold": "high"}, "method.distillation.pass_threshold"),
    ],
)
def test_a_wrong_request_is_refused_by_field(client: openai.OpenAI, method: Any, param: str) -> None:
    training = client.files.create(file=("lessons.jsonl", rows(12)), purpose="fine-tune")
    wanted: Any = {"type": "distillation", "distillation": method}
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(model=BASE, training_file=training.id, method=wanted)
    assert str(refused.value.param).startswith(param)
