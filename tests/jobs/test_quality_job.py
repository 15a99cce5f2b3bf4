"""Early stopping and replay in jobs: what the version says of itself, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tailor.store import Store
from tests.faults.scene import TENANT
from tests.jobs.conftest import Work, log_of, new_small_job
from tests.jobs.test_reinforcement_job import metrics_of


def test_a_job_that_stops_early_publishes_its_best_step(store: Store, work: Work) -> None:
    stopping = {"patience": 1, "every_steps": 2}
    job = work(new_small_job(store, early_stopping=stopping, learning_rate=0.5))
    assert job.status == "succeeded", job.error
    rows = metrics_of(store, job)
    assert len(rows) < rows[0]["total_steps"]
    looks = {row["step"]: row["full_valid_loss"] for row in rows if "full_valid_loss" in row}
    best = min(looks, key=lambda step: (looks[step], step))
    version = store.versions.get(TENANT, str(job.fine_tuned_model))
    assert (version.step, version.metrics["step"]) == (best, best)
    assert any(f"lowest at step {best}" in line for line in log_of(store, job))
    assert job.trained_tokens == sum(row["train_tokens"] for row in rows)
    assert version.proof is not None


def test_general_data_is_mixed_in(store: Store, work: Work) -> None:
    general = b"".join(
        json.dumps(
            {"messages": [{"role": "user", "content": f"Hello {n}"}, {"role": "assistant", "content": "Hi"}]}
        ).encode()
        + b"\n"
        for n in range(12)
    )
    file = store.files.add(TENANT, data=general, filename="general.jsonl", purpose="fine-tune")
    job = work(new_small_job(store, replay={"file": file.id, "share": 0.25}))
    assert job.status == "succeeded", job.error
    version = store.versions.get(TENANT, str(job.fine_tuned_model))
    assert version.recipe["num_replayed"] == 8
    assert metrics_of(store, job)[0]["total_steps"] == 2 * (24 + 8) // 4


@pytest.mark.parametrize(
    ("options", "code", "param"),
    [
        ({"hold_out": 0, "early_stopping": {"patience": 2}}, "nothing_held_out", "tailor.early_stopping"),
        ({"replay": {"file": "file-nowhere"}}, "file_not_found", "tailor.replay.file"),
    ],
)
def test_what_cannot_be_done_is_said(
    store: Store, work: Work, options: dict[str, Any], code: str, param: str
) -> None:
    job = work(new_small_job(store, **options))
    assert job.error is not None
    assert (job.error["code"], job.error["param"]) == (code, param)


def test_general_data_of_another_form_is_refused(store: Store, work: Work) -> None:
    file = store.files.add(TENANT, data=b'{"text": "a"}\n', filename="texts.jsonl", purpose="fine-tune")
    job = work(new_small_job(store, replay={"file": file.id}))
    assert job.error is not None and job.error["code"] == "invalid_replay_file"
