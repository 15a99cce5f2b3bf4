"""Trained models by name, and the weights that they share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from tailor.errors import InvalidRequest, NotFound
from tailor.store import JobSpec, Lease, Store, Version

TrainLease = Callable[[Store], Lease]
MakeVersion = Callable[..., Version]


def test_a_deleted_version_is_gone_and_its_job_stays(
    store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(store)
    version = make_version(lease)
    job = lease.publish(version, result_files=(), trained_tokens=1)
    store.versions.delete("default", version.id)
    with pytest.raises(NotFound):
        store.versions.get("default", version.id)
    with pytest.raises(NotFound):
        store.versions.delete("default", version.id)
    assert store.jobs.get("default", job.id).fine_tuned_model == version.id
    assert not store.weights.has(version.digest)


def test_weights_stay_while_another_version_has_the_same(
    store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(store)
    final = make_version(lease)
    name = "ft:tiny:org::Abcdef34:ckpt-step-3"
    checkpoint = replace(final, id=name, kind="checkpoint")
    lease.add_checkpoint(step=3, name=name, digest=final.digest, metrics={}, version=checkpoint)
    lease.publish(final, result_files=(), trained_tokens=1)
    store.versions.delete("default", final.id)
    assert store.weights.verify(final.digest).is_dir()
    store.versions.delete("default", name)
    assert not store.weights.has(final.digest)


def test_a_version_that_a_job_trains_on_from_stays(
    store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(store)
    job = lease.publish(version := make_version(lease), result_files=(), trained_tokens=1)
    spec = JobSpec(
        requested_model=version.id, base="tiny", parent=version.id, training_file=job.training_file
    )
    child = store.jobs.add("default", spec)
    with pytest.raises(InvalidRequest, match=child.id):
        store.versions.delete("default", version.id)
    store.jobs.cancel("default", child.id)
    store.versions.delete("default", version.id)


def test_the_proof_is_attached_to_the_version(
    store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(store)
    lease.publish(version := make_version(lease), result_files=(), trained_tokens=1)
    assert store.versions.proof("default", version.id) is None
    proof = {"difference": {"mean": 0.25}}
    assert store.versions.set_proof("default", version.id, proof).proof == proof
    assert store.versions.proof("default", version.id) == proof


def test_the_sweep_takes_only_old_weights_that_nothing_names(
    store: Store, train_lease: TrainLease, make_version: MakeVersion
) -> None:
    lease = train_lease(store)
    named, old, young = (make_version(lease, f"ft:tiny:org::Abcdef1{n}") for n in range(3))
    lease.publish(named, result_files=(), trained_tokens=1)
    for version in (named, old):
        os.utime(store.weights.path(version.digest), (time.time() - 90_000,) * 2)
    store.sweep()
    assert [store.weights.has(version.digest) for version in (named, old, young)] == [True, False, True]
