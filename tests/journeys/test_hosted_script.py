"""A script as users of the hosted service have it, with nothing changed but `base_url`."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pandas
import pytest

from tailor.server import EmbeddedServer

COLOURS = {"grass": "green", "sky": "blue", "snow": "white", "coal": "black"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    with (
        EmbeddedServer(tmp_path_factory.mktemp("home")) as server,
        openai.OpenAI(base_url=server.base_url, api_key=server.api_key) as made,
    ):
        yield made


def training_file(folder: Path) -> Path:
    """Twelve conversations about four things."""
    path = folder / "colours.jsonl"
    with path.open("w") as stream:
        for place in range(3):
            for thing, colour in COLOURS.items():
                question = ("What colour is {}?", "Colour of {}", "{}: which colour?")[place].format(thing)
                messages = [
                    {"role": "system", "content": "Answer with one word."},
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": colour},
                ]
                stream.write(json.dumps({"messages": messages}) + "\n")
    return path


def test_a_hosted_script_runs_unchanged(client: openai.OpenAI, tmp_path: Path) -> None:
    with training_file(tmp_path).open("rb") as stream:
        uploaded = client.files.create(file=stream, purpose="fine-tune")
    assert client.files.wait_for_processing(uploaded.id).status == "processed"

    job = client.fine_tuning.jobs.create(
        training_file=uploaded.id,
        validation_file=uploaded.id,
        model="gpt-4o-mini-2024-07-18",
        suffix="colours",
        seed=1,
        hyperparameters={"n_epochs": 10},
    )
    assert job.status in ("validating_files", "queued")
    while job.status not in ("succeeded", "failed", "cancelled"):
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error

    events = client.fine_tuning.jobs.list_events(fine_tuning_job_id=job.id, limit=50).data
    messages = [event.message for event in reversed(events)]
    assert messages[0] == f"Created fine-tuning job: {job.id}"
    assert messages[-2:] == [
        f"New fine-tuned model created: {job.fine_tuned_model}",
        "The job has successfully completed",
    ]

    figures = pandas.read_csv(io.BytesIO(client.files.content(job.result_files[0]).read()))
    steps = [event for event in events if event.type == "metrics"]
    assert list(figures["step"]) == list(range(1, len(steps) + 1))
    assert figures["train_loss"].iloc[-1] < figures["train_loss"].iloc[0]
    assert figures["train_accuracy"].between(0, 1).all()
    assert job.trained_tokens is not None and job.trained_tokens > 0

    assert job.fine_tuned_model is not None
    assert job.fine_tuned_model.split(":")[3] == "colours"
    assert job.fine_tuned_model in [model.id for model in client.models.list()]
    completion = client.chat.completions.create(
        model=job.fine_tuned_model,
        messages=[
            {"role": "system", "content": "Answer with one word."},
            {"role": "user", "content": "What colour is grass?"},
        ],
        temperature=0,
        max_tokens=8,
    )
    assert completion.model == job.fine_tuned_model
    # Twelve examples teach so small a base the form of the answer, not yet which colour.
    assert completion.choices[0].message.content in COLOURS.values()

    checkpoint = client.fine_tuning.jobs.checkpoints.list(job.id).data[0]
    assert checkpoint.fine_tuned_model_checkpoint.endswith(f":ckpt-step-{checkpoint.step_number}")
    assert client.models.delete(job.fine_tuned_model).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(job.fine_tuned_model)
