"""Files: what is kept, for whom, and when the bytes go."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tailor.errors import InvalidRequest, NotFound, StorageFull
from tailor.store import FileRecord, Job, Store

AddJob = Callable[..., Job]


def add(store: Store, data: bytes = b"{}\n", tenant: str = "default", **more: object) -> FileRecord:
    return store.files.add(tenant, data=data, filename="train.jsonl", purpose="fine-tune", **more)  # type: ignore[arg-type]


def blobs(store: Store) -> set[str]:
    return {path.name for path in (store.home / "blobs").glob("*/*")}


def test_a_file_is_kept_under_the_hash_of_its_bytes(store: Store) -> None:
    with store.files.receive("default") as receiver:
        receiver.write(b"one\n")
        receiver.write(b"two\n")
        assert receiver.open().read() == b"one\ntwo\n"
        record = receiver.finish("data.jsonl", "fine-tune")
    assert (record.bytes, record.filename, record.status) == (8, "data.jsonl", "processed")
    assert record.sha256 == hashlib.sha256(b"one\ntwo\n").hexdigest()
    assert store.files.get("default", record.id) == record
    assert store.files.open("default", record.id).read() == b"one\ntwo\n"
    assert store.files.path("default", record.id).stat().st_mode & 0o777 == 0o400


def test_what_is_not_finished_leaves_nothing(store: Store) -> None:
    with pytest.raises(RuntimeError), store.files.receive("default") as receiver:
        receiver.write(b"half")
        raise RuntimeError
    assert list((store.home / "blobs").rglob("*")) == []
    assert store.files.list("default").items == ()


def test_parts_of_dead_writers_are_swept_and_living_ones_are_not(store: Store) -> None:
    living = store.files.receive("default")
    living.write(b"slow")
    dead = store.home / "blobs" / ".part-dead"
    dead.write_bytes(b"half")
    Store.open(store.home).close()
    assert not dead.exists()
    assert living.finish("a", "fine-tune").bytes == 4


def test_bytes_stay_until_their_last_name_goes(store: Store) -> None:
    first, second = add(store), add(store, tenant="other")
    assert first.sha256 == second.sha256 and len(blobs(store)) == 1
    store.files.delete("default", first.id)
    assert store.files.open("other", second.id).read() == b"{}\n"
    store.files.delete("other", second.id)
    assert blobs(store) == set()
    with pytest.raises(NotFound):
        store.files.delete("other", second.id)


def test_an_unfinished_job_keeps_the_bytes_of_its_deleted_file(store: Store, add_job: AddJob) -> None:
    job = add_job(store)
    store.files.delete("default", job.training_file)
    with pytest.raises(NotFound):
        store.files.get("default", job.training_file)
    lease = store.queue.claim("validate", "w")
    assert lease is not None and lease.open_training().read() == b"{}\n"
    store.jobs.cancel("default", job.id)
    store.sweep()
    assert blobs(store) == {job.training_sha256}, "young blobs are left alone"
    os.utime(next((store.home / "blobs").glob("*/*")), (time.time() - 90_000,) * 2)
    store.sweep()
    assert blobs(store) == set()


def test_the_sweep_leaves_old_bytes_that_somebody_needs(store: Store, add_job: AddJob) -> None:
    kept, pinned = add(store, b"kept"), add_job(store)
    store.files.delete("default", pinned.training_file)
    for path in (store.home / "blobs").glob("*/*"):
        os.utime(path, (time.time() - 90_000,) * 2)
    store.sweep()
    assert blobs(store) == {kept.sha256, pinned.training_sha256}


def test_files_expire(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    record = add(store, expires_after_seconds=3600)
    assert record.expires_at == record.created_at + 3600
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3601)
    with pytest.raises(NotFound):
        store.files.get("default", record.id)
    assert store.files.list("default").items == ()


def test_an_upload_sent_again_is_the_same_file(store: Store) -> None:
    def send(retry: bool, data: bytes = b"{}\n") -> str:
        with store.files.receive("default") as receiver:
            receiver.write(data)
            return receiver.finish("a.jsonl", "fine-tune", retry=retry).id

    first = send(False)
    assert send(True) == first
    assert send(False) != first
    assert send(True, b"[]\n") != first


def test_a_once_key_makes_one_file_however_often(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: add(store, b"%d" % n, once_key="result:1").id, range(8)))
    assert len(set(made)) == 1
    assert len(blobs(store)) == 1


def test_lists_are_pages_newest_first(store: Store) -> None:
    ids = [add(store, b"%d" % n).id for n in range(5)]
    results = store.files.add("default", data=b"csv", filename="r.csv", purpose="fine-tune-results").id
    page = store.files.list("default", limit=2)
    assert [item.id for item in page.items] == [results, ids[4]] and page.has_more
    page = store.files.list("default", limit=4, after=ids[4])
    assert [item.id for item in page.items] == ids[3::-1] and not page.has_more
    assert [item.id for item in store.files.list("default", order="asc", limit=2).items] == ids[:2]
    assert [item.id for item in store.files.list("default", purpose="fine-tune-results").items] == [results]
    assert store.files.list("default", purpose="no-such").items == ()
    assert store.files.list("default", after="after").items == ()
    assert len(store.files.list("default", limit=0).items) == 6


def test_a_disk_at_its_floor_takes_nothing(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "home", floor_bytes=1 << 60)
    with pytest.raises(StorageFull):
        store.files.receive("default")
    with pytest.raises(StorageFull):
        store.require_room()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd", "../../etc/passwd"),
        ("a\x00b\nc", "abc"),
        ("\udc80.jsonl", "?.jsonl"),
        ("", "upload"),
    ],
)
def test_a_filename_is_a_label_and_never_a_path(store: Store, given: str, kept: str) -> None:
    record = store.files.add("default", data=b"x", filename=given, purpose="fine-tune")
    assert record.filename == kept
    assert store.files.path("default", record.id).parent.parent == store.home / "blobs"


def test_a_job_needs_files_of_its_own_tenant(store: Store, add_job: AddJob) -> None:
    foreign = add(store, tenant="other")
    for wrong in (foreign.id, "file-unknown", "../../etc/passwd"):
        with pytest.raises(InvalidRequest) as refused:
            add_job(store, validation_file=wrong)
        assert refused.value.param == "validation_file"
