"""The home itself: migrations, the one server, the disk, a busy database."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import exc as sql_errors
from sqlalchemy import text

from tailor.errors import InvalidRequest, Unavailable
from tailor.store import ServerLock, Store, read_server
from tailor.store import database as database_module
from tailor.store.database import wal_is_safe
from tailor.store.disk import drop_ballast, refuse_network_filesystem
from tailor.store.migrate import latest_revision
from tailor.store.tables import schema


def test_the_migrations_lead_to_the_tables_of_today(any_store: Store) -> None:
    with any_store._database.read() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == latest_revision()
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, schema) == []


def test_opening_a_new_home_many_times_at_once_migrates_it_once(tmp_path: Path) -> None:
    children = []
    for _ in range(4):
        child = os.fork()
        if child == 0:
            Store.open(tmp_path / "home").keys.list("default")
            os._exit(0)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 4


def test_a_database_of_a_newer_tailor_is_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path / "home").close()
    with sqlite3.connect(tmp_path / "home" / "tailor.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(InvalidRequest, match="newer tailor"):
        Store.open(tmp_path / "home")


def test_a_home_may_have_any_name(tmp_path: Path) -> None:
    home = tmp_path / "a home? 100% ours #1"
    Store.open(home).close()
    assert (home / "tailor.db").exists()


def test_a_home_has_one_server(tmp_path: Path) -> None:
    assert read_server(tmp_path) is None
    with ServerLock.acquire(tmp_path, "http://127.0.0.1:8000"):
        assert read_server(tmp_path) == "http://127.0.0.1:8000"
        with pytest.raises(InvalidRequest, match=rf"127\.0\.0\.1:8000, process {os.getpid()}"):
            ServerLock.acquire(tmp_path, "http://127.0.0.1:9000")
    assert read_server(tmp_path) is None
    ServerLock.acquire(tmp_path, "http://127.0.0.1:9000").release()


def test_a_killed_server_frees_its_home(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        lock = ServerLock.acquire(tmp_path, "http://127.0.0.1:8000")
        os.write(tell, b"1" if lock else b"0")
        signal.pause()
    os.read(ready, 1)
    assert read_server(tmp_path) == "http://127.0.0.1:8000"
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert read_server(tmp_path) is None
    with ServerLock.acquire(tmp_path, "http://127.0.0.1:9000"):
        assert read_server(tmp_path) == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 1), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
    ],
)
def test_wal_is_used_only_where_it_cannot_corrupt(version: tuple[int, ...], safe: bool) -> None:
    assert wal_is_safe(version) is safe


def test_the_database_is_as_durable_as_sqlite_can_be(store: Store) -> None:
    with store._database.read() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    journal = "wal" if wal_is_safe(sqlite3.sqlite_version_info) else "delete"
    assert found == {"journal_mode": journal, "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    for error in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(error), store._database.write() as connection:
            connection.execute(text("DELETE FROM alembic_version"))
            raise error
        with store._database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM alembic_version")) == 1
    store.ping()


def test_a_locked_database_says_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 20)
    store = Store.open(tmp_path / "home", floor_bytes=0)
    blocker = sqlite3.connect(tmp_path / "home" / "tailor.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable) as busy:
        store.keys.create("default", "x")
    assert busy.value.status == 503 and busy.value.retry_after_seconds is not None
    blocker.execute("ROLLBACK")
    store.keys.create("default", "x")


def test_a_lock_that_passes_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 20)
    store = Store.open(tmp_path / "home", floor_bytes=0)
    blocker = sqlite3.connect(tmp_path / "home" / "tailor.db", isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, lambda: blocker.execute("ROLLBACK"))
    timer.start()
    store.keys.create("default", "x")
    timer.join()


def test_statements_in_errors_do_not_show_what_users_wrote(store: Store) -> None:
    with pytest.raises(sql_errors.IntegrityError) as failed, store._database.write() as connection:
        for _ in range(2):
            connection.execute(
                schema.tables["bases"]
                .insert()
                .values(
                    name="secret-name",
                    created_at=1,
                    directory="",
                    digest="",
                    template_digest="",
                    context_length=1,
                    parameters=1,
                    model_type="",
                    is_default=False,
                )
            )
    assert "secret-name" not in str(failed.value)


def test_a_network_filesystem_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n")
    with pytest.raises(InvalidRequest, match="nfs4"):
        refuse_network_filesystem(tmp_path / "home", mounts=mounts)
    mounts.write_text(f"server:/x / nfs4 rw 0 0\n/dev/vda {tmp_path} ext4 rw 0 0\n")
    refuse_network_filesystem(tmp_path / "home", mounts=mounts)
    refuse_network_filesystem(tmp_path / "home", mounts=tmp_path / "none")


def test_ballast_is_kept_once_and_dropped_when_needed(store: Store) -> None:
    store.keep_ballast()
    store.keep_ballast()
    assert (store.home / "ballast").stat().st_size == 64 << 20
    drop_ballast(store.home)
    assert not (store.home / "ballast").exists()
