"""Aliases over HTTP: promoted through a gate, asked by name, rolled back; versions with their lineage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

from tailor.server import EmbeddedServer
from tailor.store import Job, Store
from tests.evals.test_promotion import BAD, GOOD, NOTHING, proof
from tests.server.making import adapter_files, finish_job

Routes = httpx2.Client


@pytest.fixture(scope="module")
def versions(store: Store) -> tuple[Job, Job]:
    """A good version and a worse one, each with a proof on the same items."""
    good, bad = (finish_job(store, "default", suffix=suffix) for suffix in ("good", "bad"))
    for job, results in ((good, GOOD), (bad, BAD)):
        made = proof(NOTHING, results).model_copy(update={"base": "tailor-mini-2"})
        store.versions.set_proof("default", str(job.fine_tuned_model), made.model_dump(mode="json"))
    return good, bad


@pytest.fixture(autouse=True)
def no_aliases(store: Store) -> Iterator[None]:
    yield
    for alias in store.aliases.list("default"):
        store.aliases.remove("default", alias.name)


def promote(http: Routes, job: Job | str, alias: str = "prod", **more: Any) -> httpx2.Response:
    model = job if isinstance(job, str) else job.fine_tuned_model
    return http.post(f"/v1/tailor/aliases/{alias}", json={"model": model} | more)


def test_an_alias_answers_as_the_version_that_it_stands_for(
    client: openai.OpenAI, http: Routes, versions: tuple[Job, Job]
) -> None:
    good, _ = versions
    moved = promote(http, good).json()
    assert moved["model"] == good.fine_tuned_model
    [move] = moved["history"]
    assert move["gate"]["verdict"] == "better" and move["key_id"] and not move["forced"]

    messages: Any = [{"role": "user", "content": "hello"}]
    by_alias, by_name = (
        client.chat.completions.create(model=str(name), messages=messages, temperature=0, max_tokens=8)
        for name in ("prod", good.fine_tuned_model)
    )
    assert by_alias.model == good.fine_tuned_model
    assert by_alias.choices[0].message.content == by_name.choices[0].message.content
    assert client.models.retrieve("prod").id == good.fine_tuned_model
    listed = {model.id: model for model in client.models.list()}
    assert listed[str(good.fine_tuned_model)].to_dict()["tailor"]["aliases"] == ["prod"]  # type: ignore[index]
    with pytest.raises(openai.BadRequestError, match="alias prod stands for"):
        client.models.delete(str(good.fine_tuned_model))
    with pytest.raises(openai.PermissionDeniedError, match="is an alias"):
        client.models.delete("prod")


def test_a_worse_version_is_refused_unless_forced_with_a_reason_that_is_kept(
    http: Routes, versions: tuple[Job, Job]
) -> None:
    good, bad = versions
    promote(http, good)
    refused = promote(http, bad)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "promotion_refused")
    assert "is worse than" in error["message"] and error["gate"]["broken"] == 15
    assert promote(http, bad, force=True).json()["error"]["param"] == "reason"

    forced = promote(http, bad, force=True, reason="the other one leaks names").json()["history"][0]
    assert forced["forced"] and forced["reason"] == "the other one leaks names"
    assert forced["gate"]["is_open"] is False

    back = http.post("/v1/tailor/aliases/prod/rollback", json={"reason": "it was too bad"}).json()
    assert back["model"] == good.fine_tuned_model
    assert [move["action"] for move in back["history"]][:3] == ["rollback", "promote", "promote"]
    again = http.post("/v1/tailor/aliases/prod/rollback", json={})
    assert again.json()["error"]["code"] == "nothing_to_roll_back"


def test_what_nothing_compares_needs_a_comparison(
    http: Routes, store: Store, versions: tuple[Job, Job]
) -> None:
    good, _ = versions
    promote(http, good)
    unproven = finish_job(store, "default", suffix="unproven")
    error = promote(http, unproven).json()["error"]
    assert error["code"] == "comparison_needed" and "tailor compare" in error["message"]
    assert promote(http, unproven, comparison="eval_" + "a" * 24).status_code == 404
    assert promote(http, "tailor-mini-2").json()["error"]["code"] == "promotion_refused"
    assert promote(http, good, alias="gpt-4o").json()["error"]["code"] == "invalid_alias"
    assert promote(http, "nothing").json()["error"]["code"] == "model_not_found"


def test_aliases_of_another_tenant_do_not_exist(
    http: Routes, stranger: openai.OpenAI, server: EmbeddedServer, versions: tuple[Job, Job]
) -> None:
    promote(http, versions[0])
    calls: tuple[Callable[[], object], ...] = (
        lambda: stranger.models.retrieve("prod"),
        lambda: stranger.chat.completions.create(model="prod", messages=[{"role": "user", "content": "a"}]),
        lambda: stranger.get("/tailor/aliases/prod", cast_to=object),
        lambda: stranger.get(f"/tailor/versions/{versions[0].fine_tuned_model}", cast_to=object),
    )
    for call in calls:
        with pytest.raises(openai.NotFoundError):
            call()
    listed: Any = stranger.get("/tailor/aliases", cast_to=object)
    assert listed["data"] == []


def test_every_answer_belongs_wholly_to_one_version_while_the_alias_is_moved(
    client: openai.OpenAI, http: Routes, store: Store
) -> None:
    """Reliability T16, at its small size: 16 callers, an alias moved 60 times, the same prompt."""
    names = [checkpoint(store, finish_job(store, "default", suffix=f"swap{n}"), n) for n in range(2)]
    messages: Any = [{"role": "user", "content": "Tell me about the sea."}]

    def ask(model: str) -> tuple[str, str]:
        answer = client.chat.completions.create(model=model, messages=messages, temperature=0, max_tokens=6)
        return answer.model, str(answer.choices[0].message.content)

    expected = dict(ask(name) for name in names)
    assert len(set(expected.values())) == 2
    store.aliases.promote("default", "swap", names[0], expected=None)
    stop = threading.Event()

    def move() -> None:
        for turn in range(60):
            one, other = names[turn % 2], names[(turn + 1) % 2]
            store.aliases.promote("default", "swap", other, expected=one)
        stop.set()

    mover = threading.Thread(target=move)
    mover.start()
    seen: list[tuple[str, str]] = []
    with ThreadPoolExecutor(max_workers=16) as pool:
        while not stop.is_set():
            seen += pool.map(lambda _: ask("swap"), range(16))
    mover.join()
    assert {model for model, _ in seen} <= set(names)
    assert [answer for answer in seen if expected[answer[0]] != answer[1]] == []


def checkpoint(store: Store, job: Job, seed: int) -> str:
    """One of a job's two versions: with adapters that differ from job to job."""
    made = store.versions.of_job("default", job.id)
    assert len(adapter_files(1)) == len(adapter_files(2))
    return made[seed].id


def test_a_version_shows_everything_that_made_it(
    http: Routes, store: Store, versions: tuple[Job, Job]
) -> None:
    good, _ = versions
    path = f"/v1/tailor/versions/{good.fine_tuned_model}"
    update = {"add_tags": ["mail", "q4"], "note": "the first that works"}
    assert http.post(path, json=update).json()["tags"] == ["mail", "q4"]
    http.post(path, json={"remove_tags": ["q4"]})
    found = http.get(path).json()
    assert (found["tags"], [note["text"] for note in found["notes"]]) == (["mail"], ["the first that works"])
    assert found["data"]["training_file"] == good.training_file and found["data"]["is_kept"]
    assert found["seed"] == good.seed and found["recipe"] == {"rank": 4} and found["method"] == "supervised"
    assert found["proof"]["results"][0] == {"key": "0", "base": 0.0, "version": 1.0}
    tagged = http.get("/v1/tailor/versions", params={"tag": "mail"}).json()["data"]
    assert [one["id"] for one in tagged] == [good.fine_tuned_model]
    assert http.post(path, json={"add_tags": ["no spaces"]}).status_code == 400
    child = http.post(
        "/v1/fine_tuning/jobs",
        json={"model": str(good.fine_tuned_model), "training_file": good.training_file},
    ).json()
    assert child["model"] == good.fine_tuned_model
    http.post(f"/v1/fine_tuning/jobs/{child['id']}/cancel")


def test_making_a_version_again_needs_its_files(http: Routes, store: Store) -> None:
    job = finish_job(store, "default", suffix="again")
    path = f"/v1/tailor/versions/{job.fine_tuned_model}/reproductions"
    made = http.post(path).json()
    assert made["verdict"] is None and made["status"] == "validating_files"
    twin = store.jobs.get("default", made["job"])
    assert (twin.seed, twin.training_file, twin.method) == (job.seed, job.training_file, job.method)
    assert http.get(f"{path}/{made['job']}").json()["job"] == made["job"]
    assert http.get(f"{path}/{job.id}").status_code == 404
    store.jobs.cancel("default", made["job"])
    assert "cancelled" in http.get(f"{path}/{made['job']}").json()["sentence"]
    store.files.delete("default", job.training_file)
    assert http.post(path).json()["error"]["code"] == "file_not_kept"
