"""Runs of evals in the store: one holder at a time, nothing lost, nothing of anybody else's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tailor.errors import InvalidRequest, NotFound
from tailor.store import EvalRun, LeaseLost, ModelUse, Recorded, RunSpec, Store
from tailor.store.eval_queue import MAX_ATTEMPTS

CHECK = {"type": "string_check", "name": "n", "input": "a", "reference": "b", "operation": "eq"}
ROW = {"item": {"a": 1}}


def add_run(store: Store, tenant: str = "default", **spec: Any) -> EvalRun:
    evaluation = store.evals.add(
        tenant,
        name="e",
        data_source_config={"type": "custom", "item_schema": {}},
        testing_criteria=[CHECK],
    )
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [ROW]}}
    asked = {"name": "r", "model": None, "data_source": source} | spec
    return store.eval_runs.add(tenant, evaluation.id, RunSpec(**asked))


def test_one_holds_a_run_and_who_lost_it_writes_nothing(any_store: Store) -> None:
    run = add_run(any_store)
    lease = any_store.eval_queue.claim("one")
    assert lease is not None
    assert any_store.eval_queue.claim("other") is None
    assert any_store.eval_queue.reap() == ()  # the holder lives
    lease.prepare([ROW, ROW])
    first, second = lease.unfinished()
    answer: Any = {"output": [], "error": None}
    lease.record([Recorded(item=first, sample=answer, usage={"m": {"invocations": 1}})])
    lease.close()  # as good as dead
    assert any_store.eval_queue.reap() == (run.id,)
    later = any_store.eval_queue.claim("other")
    assert later is not None
    writes: list[Callable[[], None]] = [
        lambda: lease.record([Recorded(item=second, status="pass", results=[{"passed": True}])]),
        lambda: lease.record([]),
        lease.heartbeat,
        lease.check,
        lease.complete,
        lambda: lease.fail(code="x", message="x"),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert later.prepare(iter(())) == 2  # the rows are there
    assert [item.sample is not None for item in later.unfinished()] == [True, False]
    good, bad = [{"passed": True}], [{"passed": False}]
    later.record(
        [
            Recorded(item=first, status="pass", results=good, usage={"m": {"invocations": 2}}),
            Recorded(item=second, status="fail", results=bad),
        ]
    )
    later.complete()
    ended = any_store.eval_runs.get("default", run.eval_id, run.id)
    assert (ended.status, ended.tally.passed, ended.tally.failed) == ("completed", 1, 1)
    assert ended.tally.usage == {"m": {"invocations": 3}}
    assert ended.tally.criteria == ((1, 1),)


def test_rows_that_were_half_entered_are_entered_anew(any_store: Store) -> None:
    def torn() -> Iterator[Any]:
        yield from [ROW] * 700
        raise OSError("gone")

    add_run(any_store)
    lease = any_store.eval_queue.claim("one")
    assert lease is not None
    with pytest.raises(OSError, match="gone"):
        lease.prepare(torn())
    assert len(lease.unfinished(limit=1000)) == 500
    lease.close()
    any_store.eval_queue.reap()
    later = any_store.eval_queue.claim("other")
    assert later is not None
    assert later.prepare([ROW, ROW]) == 2
    assert [item.position for item in later.unfinished()] == [0, 1]


def test_a_run_that_brings_the_server_down_again_and_again_fails(any_store: Store) -> None:
    run = add_run(any_store)
    for _ in range(MAX_ATTEMPTS):
        lease = any_store.eval_queue.claim("one")
        assert lease is not None
        lease.close()
        any_store.eval_queue.reap()
    ended = any_store.eval_runs.get("default", run.eval_id, run.id)
    assert ended.status == "failed"
    assert ended.error is not None
    assert ended.error["code"] == "run_crashed"


def test_the_file_of_a_waiting_run_outlives_its_name(any_store: Store) -> None:
    file = any_store.files.add("default", data=b'{"item": {}}\n', filename="rows.jsonl", purpose="evals")
    add_run(any_store, file=file.id)
    any_store.files.delete("default", file.id)
    lease = any_store.eval_queue.claim("one")
    assert lease is not None
    assert lease.open_file().read() == b'{"item": {}}\n'
    with pytest.raises(InvalidRequest, match="no file"):
        add_run(any_store, file=file.id)


def test_no_tenant_reaches_anothers_evals(any_store: Store) -> None:
    run = add_run(any_store)
    for call in (
        lambda: any_store.evals.get("intruder", run.eval_id),
        lambda: any_store.evals.update("intruder", run.eval_id, name="x"),
        lambda: any_store.evals.delete("intruder", run.eval_id),
        lambda: any_store.eval_runs.list("intruder", run.eval_id),
        lambda: any_store.eval_runs.get("intruder", run.eval_id, run.id),
        lambda: any_store.eval_runs.cancel("intruder", run.eval_id, run.id),
        lambda: any_store.eval_runs.delete("intruder", run.eval_id, run.id),
        lambda: any_store.eval_runs.items("intruder", run.eval_id, run.id),
        lambda: any_store.eval_runs.item("intruder", run.eval_id, run.id, "outputitem_" + "0" * 24),
    ):
        with pytest.raises(NotFound):
            call()
    assert any_store.evals.list("intruder").items == ()
    assert any_store.eval_runs.reader(run.id, run.report_token) == "default"
    assert any_store.eval_runs.reader(run.id, "") is None
    assert any_store.eval_runs.reader("evalrun_" + "0" * 24, "") is None


def test_uses_add_up_by_tenant_model_and_day(any_store: Store) -> None:
    def use(model: str, nanodollars: int) -> ModelUse:
        return ModelUse(
            model=model,
            requests=1,
            prompt_tokens=10,
            completion_tokens=5,
            cached_tokens=1,
            nanodollars=nanodollars,
        )

    usage = any_store.usage
    day = 24 * 3600
    for model, nanodollars, at in (("a", 1, day), ("a", 2, day + 7), ("b", 9, day), ("a", 4, 3 * day)):
        usage.record("default", use(model, nanodollars), at=at)
    usage.record("other", use("a", 100), at=day)
    assert [(one.model, one.requests, one.nanodollars) for one in usage.list("default")] == [
        ("b", 1, 9),
        ("a", 3, 7),
    ]
    assert [one.nanodollars for one in usage.list("default", since=day + 5, until=3 * day)] == [9, 3]
    assert [one.prompt_tokens for one in usage.list("default", since=2 * day)] == [10]
