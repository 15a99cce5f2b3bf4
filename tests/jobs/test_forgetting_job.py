"""A forgetting case that is caught: trained too hard, it is blocked; gently, let through; again, the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tailor.errors import InvalidRequest
from tailor.evals.promotion import Candidate, judge
from tailor.evals.reproduction import judge as reproduced
from tailor.jobs import check_canaries
from tailor.models import embedded_directory
from tailor.protocol import Proof
from tailor.store import Job, JobSpec, Store, Version
from tests.faults.scene import TENANT, add_base, training_rows
from tests.jobs.conftest import Work

CANARIES = [
    {"messages": [{"role": "user", "content": f"Can you find me a place to eat in {town}?"}], **wanted}
    for town in ("Paris", "Rome", "Oslo")
    for wanted in ({"expected_patterns": ["a"]}, {"expected_patterns": ["e"]})
]


def add(store: Store, *, multiplier: float, **options: object) -> Job:
    """A small job on the embedded base that learns fruits and tools."""
    file = store.files.add(TENANT, data=training_rows(28), filename="train.jsonl", purpose="fine-tune")
    spec = JobSpec(
        requested_model="mini",
        base="mini",
        training_file=file.id,
        seed=11,
        method={"type": "supervised"},
        hyperparameters={"n_epochs": 2, "batch_size": 4, "learning_rate_multiplier": multiplier},
        options={"hold_out": 4, "adapter": {"type": "full"}, **options},
    )
    return store.jobs.add(TENANT, spec)


def version_of(store: Store, job: Job) -> tuple[Version, Proof]:
    assert job.status == "succeeded", job.error
    version = store.versions.get(TENANT, str(job.fine_tuned_model))
    return version, Proof.model_validate(version.proof)


def test_forgetting_is_caught_and_mended(store: Store, work: Work) -> None:
    add_base(store, embedded_directory(), "mini")
    rows = b"".join(json.dumps(row).encode() + b"\n" for row in CANARIES)
    canaries = store.files.add(TENANT, data=rows, filename="canaries.jsonl", purpose="evals").id

    _, hard = version_of(store, work(add(store, multiplier=30.0, canaries=canaries)))
    assert hard.forgetting is not None and hard.forgetting.canaries is not None
    assert hard.forgetting.kept is not None and hard.forgetting.kept < 0.3
    assert hard.forgetting.canaries.file == canaries
    gate = judge(Candidate(name="hard", base="mini", proof=hard), None)
    assert not gate.is_open and "general ability" in " ".join(gate.reasons) and gate.remedies

    version, gentle = version_of(store, work(add(store, multiplier=0.1)))
    assert gentle.forgetting is not None and gentle.forgetting.canaries is None
    assert gentle.forgetting.kept is not None and gentle.forgetting.kept > 0.8
    assert judge(Candidate(name="gentle", base="mini", proof=gentle), None).is_open
    assert gentle.train_score is not None and gentle.artefacts is not None
    assert len(gentle.results) == gentle.num_items == 4
    assert version.data is not None and version.data["training"]["num_examples"] == 28
    assert version.data["held out"]["num_examples"] == 4


def test_a_version_made_again_is_the_same_or_what_differs_is_named(finished: tuple[Store, Job]) -> None:
    store, job = finished
    version, _ = version_of(store, job)

    assert reproduced(version, replace(version, id="again"))[::2] == ("same bytes", [])
    newer = version.software | {"torch": "9.9"}
    moved = replace(version, id="again", software=newer, digest="0" * 64)
    verdict, sentence, differences = reproduced(version, moved)
    assert verdict == "same figures" and "other bytes" in sentence
    assert len(differences) == 1 and differences[0].startswith("software.torch: ")
    worse = version.metrics | {"train_loss": version.metrics["train_loss"] + 1}
    verdict, sentence, _ = reproduced(version, replace(moved, metrics=worse))
    assert verdict == "different" and "train_loss was" in sentence


def test_canaries_are_checked_before_anything_is_trained(store: Store) -> None:
    broken = store.files.add(TENANT, data=b'{"messages": 1}\n', filename="c.jsonl", purpose="evals").id
    for wrong in (broken, "file-" + "a" * 24):
        with pytest.raises(InvalidRequest, match=r"tailor\.canaries"):
            check_canaries(store, TENANT, wrong)
