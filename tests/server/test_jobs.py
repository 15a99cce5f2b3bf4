"""Fine-tuning jobs as a user of the hosted API has them; nobody trains here."""

from __future__ import annotations

from typing import Any

import httpx2
import openai
import pytest
from openai.types import FileObject

from tailor.store import Job, Store
from tests.server.making import add_job


def test_a_job_starts_with_everything_on_it(client: openai.OpenAI, training_file: FileObject) -> None:
    job = client.fine_tuning.jobs.create(
        model="tailor-mini-2",
        training_file=training_file.id,
        validation_file=training_file.id,
        suffix="mails",
        seed=42,
        metadata={"team": "post"},
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
    )
    assert (job.status, job.seed, job.metadata, job.model) == (
        "validating_files",
        42,
        {"team": "post"},
        "tailor-mini-2",
    )
    assert job.hyperparameters.n_epochs == 2
    assert job.hyperparameters.batch_size == "auto"
    assert job.method is not None
    assert job.method.supervised is not None
    assert job.error is None
    assert (job.result_files, job.fine_tuned_model, job.trained_tokens) == ([], None, None)
    assert client.fine_tuning.jobs.retrieve(job.id) == job


def test_openai_names_stand_for_the_default_base_and_an_event_says_so(
    client: openai.OpenAI, training_file: FileObject
) -> None:
    job = client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=training_file.id)
    assert job.model == "tailor-mini-2"
    messages = [event.message for event in reversed(client.fine_tuning.jobs.list_events(job.id).data)]
    assert messages == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {training_file.id}",
        "Model gpt-4o-mini is an alias here: training tailor-mini-2",
    ]


def test_legacy_hyperparameters_count_only_without_a_method(
    client: openai.OpenAI, training_file: FileObject
) -> None:
    alone = client.fine_tuning.jobs.create(
        model="gpt-3.5-turbo", training_file=training_file.id, hyperparameters={"n_epochs": 4}
    )
    assert alone.hyperparameters.n_epochs == 4
    both = client.fine_tuning.jobs.create(
        model="gpt-3.5-turbo",
        training_file=training_file.id,
        hyperparameters={"n_epochs": 4},
        method={"type": "supervised"},
    )
    assert both.hyperparameters.n_epochs == "auto"


def test_an_integration_is_echoed_with_a_warning(client: openai.OpenAI, training_file: FileObject) -> None:
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=training_file.id,
        integrations=[{"type": "wandb", "wandb": {"project": "mails"}}],
    )
    assert job.integrations is not None
    assert job.integrations[0].wandb.project == "mails"
    assert client.fine_tuning.jobs.list_events(job.id).data[0].level == "warn"


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": "llama-none"}, "model", "model_not_available"),
        ({"model": "ft:tailor-mini-2:local::AAAAAAAA"}, "model", "model_not_available"),
        ({"model": None}, "model", "invalid_value"),
        ({"training_file": "file-none"}, "training_file", "invalid_training_file"),
        ({"validation_file": "file-none"}, "validation_file", "invalid_validation_file"),
        ({"suffix": "a b"}, "suffix", "invalid_value"),
        ({"suffix": ""}, "suffix", "invalid_value"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"seed": True}, "seed", "invalid_value"),
        ({"metadata": {str(n): "x" for n in range(17)}}, "metadata", "invalid_value"),
        ({"metadata": {"k" * 65: "x"}}, None, "invalid_value"),
        ({"metadata": {"k": 1}}, "metadata.k", "invalid_value"),
        ({"method": {"type": "telepathy"}}, "method.type", "method_not_available"),
        ({"method": {"type": "reinforcement"}}, "method.reinforcement.grader", "missing_required_parameter"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 51}}}},
            "method.supervised.hyperparameters.n_epochs",
            "invalid_value",
        ),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            None,
        ),
        ({"hyperparameters": {"batch_size": "big"}}, "hyperparameters.batch_size", None),
        ({"tailor": {"adaptor": {}}}, None, None),
        ({"tailor": {"adapter": {"type": "full", "rank": 4}}}, "tailor.adapter.rank", None),
        ({"integrations": [{"type": "mlflow"}]}, "integrations[0].type", None),
        ({"integrations": [{"type": "wandb", "wandb": {}}]}, "integrations[0].wandb.project", None),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(
    http: httpx2.Client,
    training_file: FileObject,
    change: dict[str, Any],
    param: str | None,
    code: str | None,
) -> None:
    body = {"model": "gpt-4o-mini", "training_file": training_file.id} | change
    answer = http.post("/v1/fine_tuning/jobs", json=body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert param in (None, error["param"])
    assert code in (None, error["code"])
    assert error["message"]


def test_a_file_for_another_purpose_cannot_be_trained_on(client: openai.OpenAI) -> None:
    file = client.files.create(file=b"{}", purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="purpose 'user_data'"):
        client.fine_tuning.jobs.create(model="gpt-4o-mini", training_file=file.id)


def test_a_tuned_model_and_its_checkpoint_can_be_trained_on(client: openai.OpenAI, tuned: Job) -> None:
    checkpoint = client.fine_tuning.jobs.checkpoints.list(tuned.id).data[0].fine_tuned_model_checkpoint
    for name in (str(tuned.fine_tuned_model), checkpoint):
        job = client.fine_tuning.jobs.create(model=name, training_file=tuned.training_file)
        assert job.model == name


def test_a_lost_answer_does_not_make_a_second_job(http: httpx2.Client, training_file: FileObject) -> None:
    body = {"model": "gpt-4o-mini", "training_file": training_file.id, "suffix": "lost"}

    def send(**headers: str) -> str:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = http.post("/v1/fine_tuning/jobs", json=body, headers=named)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    first = send(x_stainless_retry_count="0")
    assert send(x_stainless_retry_count="1") == first
    assert send(x_stainless_retry_count="2") == first
    assert send(x_stainless_retry_count="0") != first
    assert send(idempotency_key="k1") == send(idempotency_key="k1")
    assert send(idempotency_key="k2") != send(idempotency_key="k1")


def test_a_key_used_for_something_else_is_refused(http: httpx2.Client, training_file: FileObject) -> None:
    body = {"model": "gpt-4o-mini", "training_file": training_file.id}
    headers = {"idempotency-key": "one"}
    assert http.post("/v1/fine_tuning/jobs", json=body, headers=headers).status_code == 200
    answer = http.post("/v1/fine_tuning/jobs", json=body | {"seed": 5}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "idempotency_key_reused")


def test_jobs_are_found_by_their_metadata(client: openai.OpenAI, store: Store) -> None:
    named = add_job(store, "default", metadata={"ä b": "1", "empty": ""})
    bare = add_job(store, "default")
    jobs = client.fine_tuning.jobs
    assert [job.id for job in jobs.list(metadata={"ä b": "1"})] == [named.id]
    assert [job.id for job in jobs.list(metadata={"empty": ""})] == [named.id]
    assert [job.id for job in jobs.list(metadata={"ä b": "2"})] == []
    without = [job.id for job in jobs.list(extra_query={"metadata": "null"})]
    assert bare.id in without
    assert named.id not in without


def test_a_job_is_paused_resumed_and_cancelled(
    client: openai.OpenAI, store: Store, http: httpx2.Client
) -> None:
    job = add_job(store, "default")
    jobs = client.fine_tuning.jobs
    assert http.post(f"/v1/fine_tuning/jobs/{job.id}/pause").json()["status"] == "paused"
    assert jobs.resume(job.id).status == "validating_files"
    cancelled = jobs.cancel(job.id)
    assert cancelled.status == "cancelled"
    assert cancelled.finished_at is not None
    for verb in (jobs.cancel, jobs.pause, jobs.resume):
        with pytest.raises(openai.BadRequestError, match=f"Job {job.id} is cancelled"):
            verb(job.id)


def test_a_finished_job_shows_what_it_made(client: openai.OpenAI, tuned: Job) -> None:
    job = client.fine_tuning.jobs.retrieve(tuned.id)
    assert job.status == "succeeded"
    assert job.fine_tuned_model is not None
    assert job.fine_tuned_model.startswith("ft:tailor-mini-2:local:mails:")
    assert (job.trained_tokens, job.user_provided_suffix) == (100, "mails")  # type: ignore[attr-defined]
    checkpoint = client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    assert checkpoint.step_number == 1
    assert checkpoint.metrics.train_loss == 1.5
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=2))
    assert events[-1].message == f"Created fine-tuning job: {job.id}"
    metrics = next(event for event in events if event.type == "metrics")
    assert metrics.data is not None


@pytest.mark.parametrize("verb", ["", "/events", "/checkpoints", "/cancel", "/pause", "/resume"])
def test_an_unknown_job_is_reported_in_openais_words(http: httpx2.Client, verb: str) -> None:
    method = "POST" if verb in ("/cancel", "/pause", "/resume") else "GET"
    answer = http.request(method, f"/v1/fine_tuning/jobs/ftjob-none{verb}")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "Could not find fine tune: ftjob-none",
        "type": "invalid_request_error",
        "param": "fine_tune_id",
        "code": "fine_tune_not_found",
    }
