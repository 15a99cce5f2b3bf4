"""Models: bases, versions, checkpoints; names with colons and slashes."""

from __future__ import annotations

import httpx2
import openai
import pytest

from tailor.protocol import Proof
from tailor.store import Store
from tests.server.making import finish_job

PROOF = Proof.model_validate(
    {
        "created_at": 1,
        "model": "m",
        "base": "tailor-mini-2",
        "data": "held out from file-a",
        "file": None,
        "num_items": 1,
        "num_overlap": 0,
        "metric": "loss",
        "arms": {
            name: {
                "model": name,
                "score": None,
                "interval": None,
                "loss": 1.0,
                "token_accuracy": 0.5,
                "prompt_tokens": 1,
                "completion_tokens": 1,
                "latency_p50_ms": None,
                "latency_p95_ms": None,
            }
            for name in ("base", "version")
        },
        "difference": {
            "metric": "loss",
            "mean": 0.0,
            "interval": {"low": 0.0, "high": 0.0},
            "p_value": 1.0,
            "test": "none",
        },
        "fixed": 0,
        "broken": 0,
        "unchanged": 1,
        "items": [],
        "train_loss": 1.0,
        "train_held_out_gap": 0.0,
        "verdict": "no difference",
        "notes": [],
        "settings": {},
    }
).model_dump(mode="json")


def test_tuned_models_are_listed_retrieved_and_deleted_while_their_job_stays(
    client: openai.OpenAI, store: Store
) -> None:
    job = finish_job(store, "default", suffix="gone")
    names = [model.id for model in client.models.list()]
    checkpoint = next(name for name in names if ":gone:" in name and "ckpt-step-1" in name)
    assert {"tailor-mini-2", job.fine_tuned_model, checkpoint} <= set(names)
    name = str(job.fine_tuned_model)
    assert client.models.retrieve(name).owned_by == "local"
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.delete(name)
    assert caught.value.code == "model_not_found"
    assert client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model == name
    assert client.models.retrieve(checkpoint).id == checkpoint


def test_openai_names_show_the_base_that_stands_in(client: openai.OpenAI) -> None:
    assert client.models.retrieve("gpt-4o-mini").id == "tailor-mini-2"


def test_a_base_cannot_be_deleted(client: openai.OpenAI) -> None:
    with pytest.raises(openai.PermissionDeniedError):
        client.models.delete("tailor-mini-2")
    for name in ("none", "gpt-4o-mini", "org/none", "a b/../c"):
        with pytest.raises(openai.NotFoundError):
            client.models.delete(name)


def test_a_base_with_a_slash_in_its_name_can_be_retrieved(
    client: openai.OpenAI, http: httpx2.Client, store: Store
) -> None:
    mini = store.bases.get("tailor-mini-2")
    store.bases.add(
        name="org/mini",
        directory=mini.directory,
        digest=mini.digest,
        template_digest=mini.template_digest,
        context_length=mini.context_length,
        parameters=mini.parameters,
        model_type=mini.model_type,
    )
    try:
        assert client.models.retrieve("org/mini").id == "org/mini"
        job = finish_job(store, "default", base="org/mini", requested_model="org/mini")
        name = str(job.fine_tuned_model)
        assert client.models.retrieve(name).id == name
        store.versions.set_proof("default", name, PROOF)
        assert http.get(f"/v1/tailor/models/{name}/proof").json()["verdict"] == "no difference"
        answer = client.chat.completions.create(
            model=name, messages=[{"role": "user", "content": "hi"}], max_tokens=2
        )
        assert answer.model == name
        assert client.models.delete(name).deleted
    finally:
        store.bases.remove("org/mini")


def test_a_model_without_a_proof_says_so(http: httpx2.Client, client: openai.OpenAI, store: Store) -> None:
    job = finish_job(store, "default")
    answer = http.get(f"/v1/tailor/models/{job.fine_tuned_model}/proof")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "proof_not_found")
    assert http.get("/v1/tailor/models/none/proof").json()["error"]["code"] == "model_not_found"


def test_a_version_whose_base_was_replaced_is_refused_and_not_served_wrongly(
    http: httpx2.Client, client: openai.OpenAI, store: Store
) -> None:
    mini = store.bases.get("tailor-mini-2")
    fields = {
        "name": "other",
        "directory": mini.directory,
        "template_digest": mini.template_digest,
        "context_length": mini.context_length,
        "parameters": mini.parameters,
        "model_type": mini.model_type,
    }
    store.bases.add(digest=mini.digest, **fields)  # type: ignore[arg-type]
    try:
        job = finish_job(store, "default", base="other", requested_model="other")
        store.bases.add(digest="0" * 64, **fields)  # type: ignore[arg-type]
        body = {"model": job.fine_tuned_model, "messages": [{"role": "user", "content": "hi"}]}
        answer = http.post("/v1/chat/completions", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "base_changed")
    finally:
        store.bases.remove("other")
