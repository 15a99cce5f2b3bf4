"""Learning from what people prefer, in two jobs: a reward model from pairs, then answers that it likes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tailor.server import EmbeddedServer
from tailor.store import Job, JobSpec, Store
from tests.faults.scene import BASE, TENANT, add_base, leftovers
from tests.jobs.conftest import rest
from tests.jobs.test_reinforcement_job import add_job, metrics_of, prompts


def pairs(count: int = 24) -> bytes:
    """Whatever is asked, a long answer is better than a short one."""
    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"Say word {n}."}]},
            "preferred_output": [
                {"role": "assistant", "content": f"the word is {n}, of course, and no other"}
            ],
            "non_preferred_output": [{"role": "assistant", "content": f"{n}"}],
        }
        for n in range(count)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def add_reward_job(store: Store, *, rows: bytes | None = None, **options: Any) -> Job:
    file = store.files.add(TENANT, data=rows or pairs(), filename="pairs.jsonl", purpose="fine-tune")
    asked = {"n_epochs": 3, "batch_size": 4, "learning_rate_multiplier": "auto"}
    spec = JobSpec(
        requested_model=BASE,
        base=BASE,
        training_file=file.id,
        seed=5,
        method={"type": "reward_model", "reward_model": {"hyperparameters": asked}},
        hyperparameters=asked,
        options={
            "hold_out": 8,
            "adapter": {"type": "lora", "rank": 4},
            "dtype": "float32",
            "learning_rate": 0.01,
            "checkpoint_every_steps": 3,
        }
        | options,
    )
    return store.jobs.add(TENANT, spec)


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("home"), run_jobs=False) as started:
        add_base(started.instance.store, tiny_base)
        yield started


@pytest.fixture(scope="module")
def done(server: EmbeddedServer) -> tuple[Store, Job]:
    store = server.instance.store
    return store, rest(store, add_reward_job(store))


@pytest.fixture(scope="module")
def client(server: EmbeddedServer) -> Iterator[openai.OpenAI]:
    _, secret = server.instance.store.keys.create(TENANT, "test")
    with openai.OpenAI(base_url=server.base_url, api_key=secret, max_retries=0) as made:
        yield made


def judge(model: str | None, **more: Any) -> dict[str, Any]:
    return {
        "type": "score_model",
        "name": "liked",
        "model": model,
        "input": ["{{ item.messages }}", {"role": "assistant", "content": "{{ sample.output_text }}"}],
        "range": [-20, 20],
    } | more


def asked(client: openai.OpenAI, model: str, answer: str) -> float:
    messages: Any = [
        {"role": "user", "content": "Say word 3."},
        {"role": "assistant", "content": answer},
    ]
    said = client.chat.completions.create(model=model, messages=messages)
    assert said.usage is not None and said.usage.prompt_tokens > 5
    return float(said.choices[0].message.content or "nothing")


def test_a_job_learns_to_judge_and_proves_it(done: tuple[Store, Job]) -> None:
    store, job = done
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model is not None
    proof = store.versions.get(TENANT, job.fine_tuned_model).proof
    assert proof is not None
    assert (proof["metric"], proof["num_items"], proof["arms"]["version"]["score"]) == ("pass_rate", 8, 1.0)
    rows = metrics_of(store, job)
    assert rows[-1]["train_reward_accuracy"] == 1.0
    assert rows[-1]["full_valid_mean_token_accuracy"] == 1.0
    assert leftovers(store.home) == []


def test_a_reward_model_answers_with_its_reward(done: tuple[Store, Job], client: openai.OpenAI) -> None:
    model = str(done[1].fine_tuned_model)
    long, short = asked(client, model, "the word is 3, of course, and no other"), asked(client, model, "3")
    assert long > short
    messages: Any = [{"role": "user", "content": "Say word 3."}, {"role": "assistant", "content": "3"}]
    stream = client.chat.completions.create(model=model, messages=messages, stream=True)
    assert float("".join(chunk.choices[0].delta.content or "" for chunk in stream)) == short
    with pytest.raises(openai.BadRequestError, match="End with the answer"):
        client.chat.completions.create(model=model, messages=messages[:1])


def test_as_a_grader_it_gives_the_same_reward(done: tuple[Store, Job], client: openai.OpenAI) -> None:
    model = str(done[1].fine_tuned_model)
    item: Any = {"messages": [{"role": "user", "content": "Say word 3."}]}
    grader: Any = judge(model)
    found = client.fine_tuning.alpha.graders.run(grader=grader, model_sample="3", item=item)
    assert found.reward == pytest.approx(asked(client, model, "3"), rel=1e-4)
    for wrong, param in (
        ({key: value for key, value in grader.items() if key != "range"}, "grader.range"),
        (
            {key: value for key, value in grader.items() if key != "range"}
            | {"type": "label_model", "labels": ["a"], "passing_labels": ["a"]},
            "grader.model",
        ),
    ):
        with pytest.raises(openai.BadRequestError, match="is a reward model") as refused:
            client.fine_tuning.alpha.graders.validate(grader=wrong)  # type: ignore[arg-type]
        assert refused.value.param == param


def test_reinforcement_learns_what_a_reward_model_likes(done: tuple[Store, Job]) -> None:
    store, reward_job = done
    job = rest(store, add_job(store, grader=judge(reward_job.fine_tuned_model), rows=prompts(20)))
    assert job.status == "succeeded", job.error
    rewards = [row["train_mean_reward"] for row in metrics_of(store, job)]
    assert len({round(reward, 6) for reward in rewards}) > 1
    assert metrics_of(store, job)[0]["scores"]["graders"][0]["type"] == "score_model"
    assert not any(
        row["errors"]["graders"][0]["train_model_grader_server_error_count"] for row in metrics_of(store, job)
    )
    again = rest(store, add_job(store, grader=judge(reward_job.fine_tuned_model), rows=prompts(20)))
    assert [row["train_mean_reward"] for row in metrics_of(store, again)] == rewards
    assert [key for key in store.keys.list(TENANT) if key.name == job.id] == [], "nobody was asked"


def test_it_can_only_learn_to_judge_further(done: tuple[Store, Job], client: openai.OpenAI) -> None:
    model = str(done[1].fine_tuned_model)
    rows = b"".join(
        json.dumps(
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
        ).encode()
        + b"\n"
        for _ in range(12)
    )
    file = client.files.create(file=("train.jsonl", rows), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="is a reward model"):
        client.fine_tuning.jobs.create(model=model, training_file=file.id)
    better = client.files.create(file=("pairs.jsonl", pairs()), purpose="fine-tune")
    method: Any = {"type": "reward_model", "reward_model": {"hyperparameters": {"n_epochs": 1}}}
    job = client.fine_tuning.jobs.create(model=model, training_file=better.id, method=method)
    assert job.model_dump()["method"]["type"] == "reward_model"
    client.fine_tuning.jobs.cancel(job.id)
