"""No caller reaches another tenant's things, and no statement forgets whose things it wants (R4)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import event

from tailor.errors import NotFound
from tailor.store import (
    NO_METADATA,
    FileRecord,
    Job,
    JobSpec,
    Lease,
    ModelUse,
    Recorded,
    RunSpec,
    Store,
    Version,
)
from tailor.store.tables import schema

TENANT_TABLES = sorted(name for name, table in schema.tables.items() if "tenant" in table.c)
TrainLease = Callable[[Store], Lease]


@pytest.fixture
def statements(store: Store) -> Iterator[list[str]]:
    """The statements that callers cause, without those that our own queue and sweeps mark as theirs."""
    seen: list[str] = []

    def note(_c: object, _k: object, sql: str, _p: object, context: object, _m: object) -> None:
        options = getattr(context, "execution_options", {})
        if not options.get("across_tenants"):
            seen.append(sql)

    event.listen(store._database.engine, "before_cursor_execute", note)
    yield seen


def everything(store: Store, lease: Lease, version: Version, tenant: str) -> list[Callable[[], object]]:
    """Every call of the store on one object, as `tenant` would make it."""
    job_id, file_id = lease.job_id, lease.job.training_file
    completion = "chatcmpl-abc"
    calls: list[Callable[[], object]] = [
        lambda: store.files.get(tenant, file_id),
        lambda: store.files.open(tenant, file_id),
        lambda: store.files.path(tenant, file_id),
        lambda: store.files.delete(tenant, file_id),
        lambda: store.jobs.get(tenant, job_id),
        lambda: store.jobs.events(tenant, job_id),
        lambda: store.jobs.checkpoints(tenant, job_id),
        lambda: store.jobs.queue_position(tenant, job_id),
        lambda: store.jobs.pause(tenant, job_id),
        lambda: store.jobs.resume(tenant, job_id),
        lambda: store.jobs.cancel(tenant, job_id),
        lambda: store.versions.get(tenant, version.id),
        lambda: store.versions.proof(tenant, version.id),
        lambda: store.versions.set_proof(tenant, version.id, {}),
        lambda: store.versions.delete(tenant, version.id),
        lambda: store.completions.get(tenant, completion),
        lambda: store.completions.messages(tenant, completion),
        lambda: store.completions.update_metadata(tenant, completion, {}),
        lambda: store.completions.delete(tenant, completion),
        lambda: store.keys.revoke(tenant, store.keys.list("default")[0].id),
        lambda: store.labels.change(tenant, version.id, add=["good"], remove=["bad"], note="x"),
        lambda: store.aliases.promote(tenant, "prod", version.id, expected="nothing"),
        lambda: store.aliases.get(tenant, "prod"),
        lambda: store.aliases.history(tenant, "prod"),
        lambda: store.aliases.roll_back(tenant, "prod"),
        lambda: store.aliases.remove(tenant, "prod"),
        *_evals(store, tenant),
    ]
    return calls


def _evals(store: Store, tenant: str) -> list[Callable[[], object]]:
    """Every call on the eval of the tenant `default` and its run."""
    eval_id = store.evals.list("default").items[0].id
    run_id = store.eval_runs.list("default", eval_id).items[0].id
    spec = RunSpec(name="r", model=None, data_source={})
    return [
        lambda: store.evals.get(tenant, eval_id),
        lambda: store.evals.update(tenant, eval_id, name="x"),
        lambda: store.eval_runs.add(tenant, eval_id, spec, retry=True),
        lambda: store.eval_runs.list(tenant, eval_id, status="queued"),
        lambda: store.eval_runs.get(tenant, eval_id, run_id),
        lambda: store.eval_runs.items(tenant, eval_id, run_id, status="pass"),
        lambda: store.eval_runs.item(tenant, eval_id, run_id, "outputitem_" + "0" * 24),
        lambda: store.eval_runs.cancel(tenant, eval_id, run_id),
        lambda: store.eval_runs.delete(tenant, eval_id, run_id),
        lambda: store.evals.delete(tenant, eval_id),
    ]


@pytest.fixture
def world(
    store: Store, train_lease: TrainLease, make_version: Callable[..., Version]
) -> tuple[Lease, Version]:
    """One of everything, belonging to the tenant `default`."""
    lease = train_lease(store)
    version = make_version(lease, "ft:tiny:org::Abcdef12:ckpt-step-1", 1)
    lease.add_checkpoint(step=1, name=version.id, digest=version.digest, metrics={}, version=version)
    store.completions.add(
        "default", completion_id="chatcmpl-abc", model="tiny", messages=[{"role": "user"}], answer={}
    )
    store.keys.create("default", "mine")
    store.aliases.promote("default", "prod", version.id, expected=None)
    evaluation = store.evals.add("default", name="e", data_source_config={}, testing_criteria=[])
    store.eval_runs.add("default", evaluation.id, RunSpec(name="r", model=None, data_source={}))
    return lease, version


def test_foreign_and_unknown_are_the_same_answer(store: Store, world: tuple[Lease, Version]) -> None:
    for call in everything(store, *world, "intruder"):
        with pytest.raises(NotFound):
            call()
    for items in (
        store.files.list("intruder"),
        store.jobs.list("intruder"),
        store.completions.list("intruder"),
    ):
        assert items.items == ()
    assert store.versions.list("intruder") == () == store.keys.list("intruder")
    unknown = "ftjob-" + "a" * 24
    with pytest.raises(NotFound) as missing:
        store.jobs.get("default", unknown)
    with pytest.raises(NotFound) as foreign:
        store.jobs.get("intruder", world[0].job_id)
    assert missing.value.sentence.replace(unknown, "X") == foreign.value.sentence.replace(
        world[0].job_id, "X"
    )


def test_a_cursor_of_another_tenant_is_unknown(store: Store, world: tuple[Lease, Version]) -> None:
    theirs = store.files.add("intruder", data=b"x", filename="x", purpose="fine-tune")
    assert store.files.list("intruder", after=world[0].job.training_file).items == ()
    assert store.files.list("default", after=theirs.id).items == ()


def test_every_statement_on_a_tenants_table_names_the_tenant(
    store: Store, statements: list[str], world: tuple[Lease, Version]
) -> None:
    lease, version = world
    calls: list[Callable[[], object]] = [
        *everything(store, lease, version, "intruder"),
        lambda: store.files.list("default", purpose="fine-tune", after="file-a"),
        lambda: store.jobs.list("default", metadata={"a": "b"}),
        lambda: store.jobs.list("default", metadata=NO_METADATA),
        lambda: store.completions.list("default", model="tiny", metadata={"a": "b"}),
        lambda: store.versions.list("default"),
        lambda: store.labels.tags("default"),
        lambda: store.labels.notes("default", version.id),
        lambda: store.aliases.list("default"),
        lambda: store.aliases.resolve("default", "prod"),
        lambda: store.eval_runs.of_model("default", version.id),
        lambda: lease.heartbeat(step=2),
        lambda: lease.add_metrics(step=2, data={}, message="Step 2"),
        lambda: lease.add_save(step=2, directory="step-2"),
        lambda: lease.prune_saves(),
        *everything(store, lease, version, "default"),
    ]
    claimed = store.eval_queue.claim("test")
    assert claimed is not None
    claimed.prepare([{"item": {}}])
    [item] = claimed.unfinished()
    claimed.record([Recorded(item=item, status="pass")])
    claimed.heartbeat()
    claimed.check()
    store.usage.record(
        "default",
        ModelUse(model="m", requests=1, prompt_tokens=1, completion_tokens=1, cached_tokens=0, nanodollars=1),
    )
    store.usage.list("default", since=1, until=2)
    for call in calls:
        try:
            call()
        except Exception as error:
            assert getattr(error, "status", 500) in (400, 404), error
    store.queue.reap()
    store.eval_queue.reap()
    store.sweep()

    assert len(statements) > 80
    nameless = [
        sql
        for sql in statements
        if any(re.search(rf"\b(FROM|INTO|UPDATE|JOIN) {table}\b", sql) for table in TENANT_TABLES)
        and "tenant" not in (sql if sql.startswith("INSERT") else sql.partition("WHERE")[2])
    ]
    assert nameless == []


def test_ids_that_cannot_be_ours_are_not_looked_up(store: Store, statements: list[str]) -> None:
    for wrong in ("../etc", "file-x'; DROP TABLE files; --", "file-\x00", "", "file-" + "a" * 500, "файл-1"):
        for call in (store.files.get, store.jobs.get, store.completions.get, store.versions.get):
            with pytest.raises(NotFound):
                call("default", wrong)
    assert [sql for sql in statements if "SELECT" in sql] == []


def test_the_first_tenant_sees_its_own_records(store: Store, world: tuple[Lease, Version]) -> None:
    lease, version = world
    job: Job = store.jobs.get("default", lease.job_id)
    file: FileRecord = store.files.get("default", job.training_file)
    again = store.jobs.add(
        "default",
        JobSpec(requested_model=version.id, base="tiny", parent=version.id, training_file=file.id),
    )
    assert again.parent == version.id
