"""Jobs as callers see them: entered once, listed, filtered, cancelled, on both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tailor.errors import InvalidRequest, NotFound
from tailor.store import NO_METADATA, Job, JobSpec, Lease, Store, Version

AddJob = Callable[..., Job]
TrainLease = Callable[[Store], Lease]


@pytest.fixture
def spec(any_store: Store) -> JobSpec:
    file = any_store.files.add("default", data=b"{}\n", filename="a.jsonl", purpose="fine-tune")
    return JobSpec(
        requested_model="gpt-4o-mini", base="tiny", training_file=file.id, method={"type": "supervised"}
    )


def test_two_first_tries_are_two_jobs_and_a_retry_is_none(any_store: Store, spec: JobSpec) -> None:
    first, second = any_store.jobs.add("default", spec), any_store.jobs.add("default", spec)
    assert first.id != second.id
    assert any_store.jobs.add("default", spec, retry=True).id == second.id
    assert any_store.jobs.add("default", replace(spec, suffix="b"), retry=True).id not in (
        first.id,
        second.id,
    )


def test_a_retry_long_after_is_a_new_job(
    any_store: Store, spec: JobSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = any_store.jobs.add("default", spec)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 901)
    assert any_store.jobs.add("default", spec, retry=True).id != first.id


def test_an_idempotency_key_makes_one_job_and_belongs_to_one_request(any_store: Store, spec: JobSpec) -> None:
    first = any_store.jobs.add("default", spec, idempotency_key="k")
    assert any_store.jobs.add("default", spec, idempotency_key="k") == first
    with pytest.raises(InvalidRequest) as refused:
        any_store.jobs.add("default", replace(spec, seed=7), idempotency_key="k")
    assert refused.value.code == "idempotency_key_reused"


@pytest.mark.parametrize("by_key", [True, False])
def test_eight_threads_that_retry_together_make_one_job(
    any_store: Store, spec: JobSpec, by_key: bool
) -> None:
    def submit(_n: int) -> str:
        key = "k" if by_key else None
        return any_store.jobs.add("default", spec, idempotency_key=key, retry=not by_key).id

    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(submit, range(24)))
    assert len(made) == 1
    assert len(any_store.jobs.list("default").items) == 1
    assert len(any_store.jobs.events("default", made.pop()).items) == 2


def test_a_seed_is_made_when_none_is_given(any_store: Store, spec: JobSpec) -> None:
    assert 0 <= any_store.jobs.add("default", spec).seed < 2**31
    assert any_store.jobs.add("default", replace(spec, seed=0)).seed == 0


def test_jobs_are_found_by_their_metadata(any_store: Store, spec: JobSpec) -> None:
    def add(metadata: dict[str, str] | None) -> str:
        return any_store.jobs.add("default", replace(spec, metadata=metadata)).id

    both, one, empty, none = add({"a": "1", "b": "2"}), add({"a": "1"}), add({"a": ""}), add(None)

    def found(wanted: object) -> list[str]:
        return [job.id for job in any_store.jobs.list("default", metadata=wanted).items]  # type: ignore[arg-type]

    assert found({"a": "1"}) == [one, both]
    assert found({"a": "1", "b": "2"}) == [both]
    assert found({"a": ""}) == [empty]
    assert found({"c": "1"}) == []
    assert found({"a' OR '1'='1": "%"}) == []
    assert found(NO_METADATA) == [none]
    assert found({}) == found(None) == [none, empty, one, both]
    assert any_store.jobs.get("default", both).metadata == {"a": "1", "b": "2"}
    assert any_store.jobs.get("default", none).metadata is None


def test_every_page_of_jobs_and_events_fits_the_last(any_store: Store, spec: JobSpec) -> None:
    ids = [any_store.jobs.add("default", spec).id for _ in range(5)]
    seen: list[str] = []
    after = None
    while True:
        page = any_store.jobs.list("default", after=after, limit=2)
        seen += [job.id for job in page.items]
        if not page.has_more:
            break
        after = seen[-1]
    assert seen == ids[::-1]
    assert any_store.jobs.list("default", after="after").items == ()
    assert any_store.jobs.list("default", limit=0).items != ()

    newest, oldest = any_store.jobs.events("default", ids[0]).items
    assert (oldest.message[:7], newest.message[:10]) == ("Created", "Validating")
    assert newest.sequence > oldest.sequence
    assert any_store.jobs.events("default", ids[0], after=newest.id).items == (oldest,)
    foreign_cursor = any_store.jobs.events("default", ids[1]).items[0].id
    assert any_store.jobs.events("default", ids[0], after=foreign_cursor).items == ()


def test_checkpoints_are_listed_highest_step_first(
    any_store: Store, train_lease: TrainLease, make_version: Callable[..., Version]
) -> None:
    lease = train_lease(any_store)
    for step in (10, 20, 30):
        version = make_version(lease, f"ft:tiny:org::Abcdef{step}:ckpt-step-{step}", step)
        lease.add_checkpoint(
            step=step,
            name=version.id,
            digest=version.digest,
            metrics={"step": step},
            version=version,
        )
    page = any_store.jobs.checkpoints("default", lease.job_id, limit=2)
    assert [checkpoint.step for checkpoint in page.items] == [30, 20] and page.has_more
    page = any_store.jobs.checkpoints("default", lease.job_id, after=page.items[-1].id)
    assert [checkpoint.step for checkpoint in page.items] == [10] and not page.has_more


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume"])
def test_a_job_that_has_ended_can_only_be_looked_at(any_store: Store, add_job: AddJob, verb: str) -> None:
    job = add_job(any_store)
    ended = any_store.jobs.cancel("default", job.id)
    assert (ended.status, ended.owner) == ("cancelled", None) and ended.finished_at is not None
    with pytest.raises(InvalidRequest, match="is cancelled") as refused:
        getattr(any_store.jobs, verb)("default", job.id)
    assert refused.value.status == 400 and refused.value.code is not None
    assert any_store.jobs.get("default", job.id) == ended


def test_a_waiting_job_pauses_at_once_and_goes_back_to_where_it_was(
    any_store: Store, add_job: AddJob
) -> None:
    job = add_job(any_store)
    lease = any_store.queue.claim("validate", "w")
    assert lease is not None
    assert any_store.jobs.pause("default", job.id).status == "paused"
    assert lease.wanted() == "stop"
    assert any_store.queue.claim("validate", "w") is None
    assert any_store.jobs.resume("default", job.id).status == "validating_files"

    lease = any_store.queue.claim("validate", "w")
    assert lease is not None
    lease.validated()
    assert any_store.jobs.pause("default", job.id).status == "paused"
    assert any_store.jobs.resume("default", job.id).status == "queued"
    assert any_store.jobs.cancel("default", job.id).status == "cancelled"


def test_the_parent_of_a_job_must_be_the_tenants(any_store: Store, spec: JobSpec) -> None:
    with pytest.raises(InvalidRequest) as refused:
        any_store.jobs.add("default", replace(spec, parent="ft:tiny:org::Abcdef12"))
    assert (refused.value.param, refused.value.code) == ("model", "model_not_available")


def test_a_failed_job_says_why(any_store: Store, train_lease: TrainLease) -> None:
    failed = train_lease(any_store).fail(
        code="invalid_training_file", message="Line 3 ...", param="training_file"
    )
    assert (failed.status, failed.result_files, failed.fine_tuned_model) == ("failed", (), None)
    assert failed.error == {
        "code": "invalid_training_file",
        "message": "Line 3 ...",
        "param": "training_file",
    }
    event = any_store.jobs.events("default", failed.id).items[0]
    assert (event.level, event.message) == ("error", "Line 3 ...")


def test_unknown_jobs_answer_as_openai_does(any_store: Store) -> None:
    with pytest.raises(NotFound) as missing:
        any_store.jobs.get("default", "ftjob-nope")
    assert (missing.value.param, missing.value.code) == ("fine_tune_id", "fine_tune_not_found")
