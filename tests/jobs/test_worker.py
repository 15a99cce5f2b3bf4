"""A job from file to proven version."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pandas
import pytest

from tailor.data import read_supervised
from tailor.protocol import Proof, VersionName
from tailor.store import Job, JobSpec, Store
from tests.faults.scene import BASE, TENANT, add_job, leftovers, training_rows
from tests.jobs.conftest import At, Work, log_of, new_small_job


def test_a_job_succeeds_and_its_log_tells_the_story_in_openais_order(finished: tuple[Store, Job]) -> None:
    store, job = finished

    assert (job.status, job.step, job.total_steps) == ("succeeded", 12, 12)
    log = log_of(store, job)
    model, checkpoint = str(job.fine_tuned_model), store.jobs.checkpoints(TENANT, job.id).items[0].name
    assert log[:4] == [
        f"Created fine-tuning job: {job.id}",
        f"Validating training file: {job.training_file}",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert re.fullmatch(r"Held out 4 of 28 examples for validation and proof: file-\w+", log[4])
    steps = [line for line in log if line.startswith("Step ")]
    assert [line.split(":")[0] for line in steps] == [f"Step {step}/12" for step in range(1, 13)]
    assert re.fullmatch(r"Step 1/12: training loss=\d+\.\d\d", steps[0])
    assert re.fullmatch(r"Step 6/12: training loss=\S+, full validation loss=\d+\.\d\d", steps[5])
    assert re.fullmatch(r"Step 10/12: training loss=\S+, validation loss=\d+\.\d\d", steps[9])
    created = f"Checkpoint created at step 6 with Snapshot ID: {checkpoint}"
    assert log.index(steps[5]) < log.index(created) < log.index(steps[6])
    assert log[-2:] == [f"New fine-tuned model created: {model}", "The job has successfully completed"]


def test_metrics_events_carry_openais_names(finished: tuple[Store, Job]) -> None:
    store, job = finished

    events = store.jobs.events(TENANT, job.id, limit=100).items
    figures = {event.data["step"]: event.data for event in events if event.type == "metrics"}
    assert {"step", "total_steps", "train_loss", "train_mean_token_accuracy"} <= figures[1].keys()
    assert "valid_loss" not in figures[1]
    assert {"valid_loss", "valid_mean_token_accuracy"} <= figures[10].keys()
    assert {"full_valid_loss", "full_valid_mean_token_accuracy"} <= figures[12].keys()


def test_the_result_file_reads_in_pandas_as_openais_does(finished: tuple[Store, Job]) -> None:
    store, job = finished

    content = store.files.open(TENANT, job.result_files[0]).read()
    table = pandas.read_csv(io.BytesIO(content))
    assert list(table.columns[:5]) == [
        "step",
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "valid_mean_token_accuracy",
    ]
    assert list(table["step"]) == list(range(1, 13))
    assert table["train_accuracy"].between(0, 1).all()
    assert list(table["step"][table["valid_loss"].notna()]) == [10]
    losses = [row["train_loss"] for row in csv.DictReader(io.StringIO(content.decode()))]
    assert all(re.fullmatch(r"\d+\.\d{5}", loss) for loss in losses)
    assert store.files.get(TENANT, job.result_files[0]).purpose == "fine-tune-results"


def test_auto_becomes_numbers_in_both_places(finished: tuple[Store, Job]) -> None:
    _, job = finished

    expected = {"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": 1.0}
    assert job.hyperparameters == expected
    assert job.method == {"type": "supervised", "supervised": {"hyperparameters": expected}}


def test_trained_tokens_are_those_of_the_training_part_times_epochs(finished: tuple[Store, Job]) -> None:
    store, job = finished

    events = store.jobs.events(TENANT, job.id, limit=100).items
    counted = sum(event.data["train_tokens"] for event in events if event.type == "metrics")
    assert job.trained_tokens == counted > 0


def test_a_version_says_what_it_is_and_how_it_came_to_be(finished: tuple[Store, Job]) -> None:
    store, job = finished

    version = store.versions.get(TENANT, str(job.fine_tuned_model))
    name = VersionName.parse(version.id)
    assert name is not None
    assert (name.base, name.organization, name.suffix, name.step) == (BASE, "local", "kills", None)
    assert version.base_digest == store.bases.get(BASE).digest
    assert version.recipe["num_steps"] == 12
    assert {"tailor", "torch", "transformers"} <= version.software.keys()
    assert len(version.dataset_fingerprint) == len(version.template_digest) == 64
    assert version.metrics["step"] == version.step == 12
    names = {path.name for path in store.weights.verify(version.digest).iterdir()}
    assert names == {"MANIFEST.json", "adapter_config.json", "adapter_model.safetensors"}
    assert leftovers(store.home) == []


def test_every_epoch_but_the_last_leaves_a_model_of_its_own(store: Store, work: Work) -> None:
    job = work(add_job(store, rows=training_rows(28), epochs=3, hold_out=4))

    checkpoints = store.jobs.checkpoints(TENANT, job.id).items
    assert [checkpoint.step for checkpoint in checkpoints] == [12, 6]
    ids = {str(job.fine_tuned_model).split(":")[4]}
    for checkpoint in checkpoints:
        name = VersionName.parse(checkpoint.name)
        assert name is not None and name.step == checkpoint.step
        ids.add(name.id)
        assert store.versions.get(TENANT, checkpoint.name).kind == "checkpoint"
        assert store.weights.verify(checkpoint.digest)
        assert checkpoint.metrics["full_valid_loss"] > 0
    assert len(ids) == 3


def test_the_proof_compares_with_the_base_on_the_held_out_file(finished: tuple[Store, Job]) -> None:
    store, job = finished

    proof = Proof.model_validate(store.versions.proof(TENANT, str(job.fine_tuned_model)))
    assert (proof.model, proof.base) == (job.fine_tuned_model, BASE)
    assert proof.num_items == proof.fixed + proof.broken + proof.unchanged == 4
    assert proof.data == f"held out from {job.training_file}"
    held_out = read_supervised(store.files.open(TENANT, str(proof.file)), name="held", minimum_examples=1)
    training = read_supervised(store.files.open(TENANT, job.training_file), name="training")
    assert len(held_out) == 4
    assert {item.fingerprint for item in held_out.examples} < {item.fingerprint for item in training.examples}
    assert proof.verdict.endswith(".")


def test_a_validation_file_takes_the_place_of_held_out_examples(store: Store, work: Work) -> None:
    lines = training_rows(40).split(b"\n")
    first = store.files.add(TENANT, data=b"\n".join(lines[:24]) + b"\n", filename="a", purpose="fine-tune")
    second = store.files.add(TENANT, data=b"\n".join(lines[24:40]), filename="b", purpose="fine-tune")
    job = work(
        store.jobs.add(
            TENANT,
            JobSpec(
                requested_model=BASE,
                base=BASE,
                training_file=first.id,
                validation_file=second.id,
                hyperparameters={"n_epochs": 1, "batch_size": 8},
                options={"adapter": {"rank": 4}},
            ),
        )
    )

    proof = Proof.model_validate(store.versions.proof(TENANT, str(job.fine_tuned_model)))
    assert (proof.num_items, proof.file) == (16, second.id)
    assert proof.data == f"validation file {second.id}"
    assert log_of(store, job)[1] == f"Validating training file: {first.id} and validation file: {second.id}"


def test_without_held_out_examples_nothing_is_proven_and_that_is_said(store: Store, work: Work) -> None:
    job = work(new_small_job(store, hold_out=0))

    assert job.status == "succeeded"
    assert store.versions.proof(TENANT, str(job.fine_tuned_model)) is None
    assert any(line.startswith("No examples are held out") for line in log_of(store, job))


def test_a_version_can_be_trained_on(store: Store, small_job: Job, work: Work) -> None:
    first = work(small_job)
    file = store.files.get(TENANT, first.training_file)
    second = work(
        store.jobs.add(
            TENANT,
            JobSpec(
                requested_model=str(first.fine_tuned_model),
                base=BASE,
                parent=first.fine_tuned_model,
                training_file=file.id,
                seed=11,
                hyperparameters={"n_epochs": 1, "batch_size": 4},
                options={"hold_out": 4, "dtype": "float32"},
            ),
        )
    )

    assert second.status == "succeeded"
    version = store.versions.get(TENANT, str(second.fine_tuned_model))
    assert version.parent == first.fine_tuned_model
    assert version.recipe["rank"] == 8
    losses = [first_loss(store, job) for job in (first, second)]
    assert losses[1] < losses[0]


def test_full_training_gives_a_complete_model(store: Store, work: Work) -> None:
    job = work(new_small_job(store, adapter={"type": "full"}))

    assert job.status == "succeeded", job.error
    version = store.versions.get(TENANT, str(job.fine_tuned_model))
    assert version.adapter == "full"
    directory = store.weights.verify(version.digest)
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= {
        path.name for path in directory.iterdir()
    }
    assert version.proof is not None


def test_the_same_job_twice_gives_the_same_weights(
    finished: tuple[Store, Job], store: Store, small_job: Job, work: Work
) -> None:
    digests = {
        of.versions.get(TENANT, str(job.fine_tuned_model)).digest
        for of, job in (finished, (store, work(small_job)))
    }

    assert len(digests) == 1


def test_a_fault_in_the_comparison_costs_the_proof_and_not_the_model(
    store: Store, small_job: Job, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("tailor.jobs.tune.prove", broken)
    job = work(small_job)

    assert job.status == "succeeded"
    said = next(line for line in log_of(store, job) if line.startswith("The comparison with the base failed"))
    incident = re.findall(r"incident (\w+)", said)[0]
    log = (store.home / "logs" / f"{job.id}.log").read_text()
    assert incident in log and "ZeroDivisionError" in log


def first_loss(store: Store, job: Job) -> float:
    events = store.jobs.events(TENANT, job.id, limit=100).items
    return next(float(event.data["train_loss"]) for event in events if event.data.get("step") == 1)


def test_rows_are_unlike_each_other(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in training_rows(54).decode().strip().split("\n")]
    assert len({row["messages"][0]["content"] for row in rows}) == 54


def test_a_job_of_the_method_text_learns_every_token_and_is_proven_by_its_loss(
    store: Store, work: Work
) -> None:
    rows = [{"text": f"The fox saw {n} boats on the river and went home."} for n in range(40)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file = store.files.add(TENANT, data=data, filename="texts.jsonl", purpose="fine-tune")
    spec = JobSpec(
        requested_model=BASE,
        base=BASE,
        training_file=file.id,
        method={"type": "text", "text": {"hyperparameters": {}}},
        hyperparameters={"n_epochs": 2, "batch_size": 4},
        options={"adapter": {"rank": 4}},
    )
    job = work(store.jobs.add(TENANT, spec))

    assert job.status == "succeeded", job.error
    assert job.method["text"]["hyperparameters"]["n_epochs"] == 2
    proof = Proof.model_validate(store.versions.get(TENANT, str(job.fine_tuned_model)).proof)
    assert (proof.metric, proof.num_items) == ("loss", 4)
    assert proof.difference.mean < 0


def test_a_file_of_another_kind_is_refused_for_the_method_text(store: Store, work: Work) -> None:
    file = store.files.add(TENANT, data=b'{"story": "x"}\n', filename="a.jsonl", purpose="fine-tune")
    spec = JobSpec(requested_model=BASE, base=BASE, training_file=file.id, method={"type": "text"})
    job = work(store.jobs.add(TENANT, spec))

    assert job.status == "failed"
    assert job.error is not None and "there is no 'text'" in job.error["message"]


def test_a_job_of_the_method_dpo_learns_which_answer_is_better_and_resumes_to_the_same_bytes(
    store: Store, work: Work, at: At
) -> None:
    def side(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    rows = [
        {
            "input": {"messages": [{"role": "user", "content": f"May I have {n} boats?"}]},
            "preferred_output": side("Gladly"),
            "non_preferred_output": side("No"),
        }
        for n in range(40)
    ]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file = store.files.add(TENANT, data=data, filename="pairs.jsonl", purpose="fine-tune")
    spec = JobSpec(
        requested_model=BASE,
        base=BASE,
        training_file=file.id,
        seed=7,
        method={"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}},
        hyperparameters={"n_epochs": 3, "batch_size": 8, "beta": 0.2},
        options={"adapter": {"rank": 4}, "learning_rate": 1e-2, "hold_out": 8},
    )
    straight = work(store.jobs.add(TENANT, spec))

    assert straight.status == "succeeded", straight.error
    assert straight.hyperparameters["beta"] == 0.2
    version = store.versions.get(TENANT, str(straight.fine_tuned_model))
    proof = Proof.model_validate(version.proof)
    assert (proof.metric, proof.num_items, proof.broken) == ("pass_rate", 8, 0)
    assert proof.arms["version"].score == 1.0
    metrics = [event.data for event in store.jobs.events(TENANT, straight.id, limit=100).items if event.data]
    assert any("train_reward_accuracy" in each for each in metrics)

    paused = store.jobs.add(TENANT, spec)
    at("after_step:4", lambda: store.jobs.pause(TENANT, paused.id))
    assert work(paused).status == "paused"
    store.jobs.resume(TENANT, paused.id)
    resumed = work(paused)
    assert resumed.status == "succeeded", resumed.error
    assert store.versions.get(TENANT, str(resumed.fine_tuned_model)).digest == version.digest


def test_the_loss_of_every_training_example_is_a_result_file_hardest_first(
    finished: tuple[Store, Job], store: Store, work: Work
) -> None:
    done, job = finished
    with done.files.open(TENANT, job.result_files[1]) as stream:
        rows = [json.loads(line) for line in stream]
    assert len(rows) == 24
    assert [row["loss"] for row in rows] == sorted((row["loss"] for row in rows), reverse=True)
    assert {row["line"] for row in rows} <= set(range(1, 29))
    quiet = work(new_small_job(store, example_losses=False))
    assert len(quiet.result_files) == 1
