"""Aliases: moved whole or not at all, back again, and only by their owner."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tailor.errors import InvalidRequest, NotFound
from tailor.store import Base, Lease, Store, Version

TrainLease = Callable[[Store], Lease]
MakeVersion = Callable[..., Version]
NAMES = tuple(f"ft:tiny:org::Abcdef1{number}" for number in range(3))


@pytest.fixture
def store(any_store: Store) -> Store:
    """On SQLite, and where it is installed on PostgreSQL."""
    return any_store


@pytest.fixture
def versions(store: Store, train_lease: TrainLease, make_version: MakeVersion) -> tuple[str, ...]:
    """Three versions of the tenant `default`, and the base that they are of."""
    add_base(store, "tiny")
    for name in NAMES:
        lease = train_lease(store)
        lease.publish(make_version(lease, name), result_files=(), trained_tokens=1)
    return NAMES


def add_base(store: Store, name: str) -> None:
    store.bases.add(
        name=name,
        directory="/nowhere",
        digest="b" * 64,
        template_digest="c" * 64,
        context_length=8,
        parameters=1,
        model_type="llama",
    )


def moved(store: Store, model: str, **more: Any) -> str:
    current = next((alias.model for alias in store.aliases.list("default")), None)
    return store.aliases.promote("default", "prod", model, expected=current, **more).model


def test_an_alias_stands_for_what_it_was_moved_to_last(store: Store, versions: tuple[str, ...]) -> None:
    moved(store, versions[0], key_id="key_a", gate={"is_open": True})
    moved(store, versions[1], forced=True, reason="we must")
    found = store.aliases.resolve("default", "prod")
    assert isinstance(found, Version)
    assert found.id == versions[1]
    newest, oldest = store.aliases.history("default", "prod")
    assert (newest.model, newest.previous, newest.forced, newest.reason) == (
        versions[1],
        versions[0],
        True,
        "we must",
    )
    assert (oldest.previous, oldest.key_id, oldest.gate) == (None, "key_a", {"is_open": True})


def test_rollbacks_go_further_and_further_back_and_pass_over_what_is_gone(
    store: Store, versions: tuple[str, ...]
) -> None:
    for model in (*versions, versions[0], "tiny"):
        moved(store, model)
    assert store.aliases.roll_back("default", "prod").model == versions[0]
    store.versions.delete("default", versions[2])
    assert store.aliases.roll_back("default", "prod").model == versions[1]
    assert moved(store, "tiny") == "tiny"
    assert isinstance(store.aliases.resolve("default", "prod"), Base)
    assert store.aliases.roll_back("default", "prod").model == versions[1]
    assert store.aliases.roll_back("default", "prod").model == versions[0]
    with pytest.raises(InvalidRequest, match="nothing to go back to"):
        store.aliases.roll_back("default", "prod")


def test_a_model_that_an_alias_stands_for_cannot_be_deleted(store: Store, versions: tuple[str, ...]) -> None:
    moved(store, versions[0])
    with pytest.raises(InvalidRequest, match="alias prod stands for"):
        store.versions.delete("default", versions[0])
    store.aliases.remove("default", "prod")
    store.versions.delete("default", versions[0])
    assert [move.action for move in store.aliases.history("default", "prod")] == ["remove", "promote"]
    assert store.aliases.resolve("default", "prod") is None


def test_two_who_move_an_alias_at_once_do_not_overwrite_each_other(
    store: Store, versions: tuple[str, ...]
) -> None:
    moved(store, versions[0])
    moved(store, versions[1])
    with pytest.raises(InvalidRequest, match="somebody has moved it meanwhile") as caught:
        store.aliases.promote("default", "prod", versions[2], expected=versions[0])
    assert caught.value.code == "alias_moved"


@pytest.mark.parametrize("name", ["", "a/b", "a:b", "-a", "a b", "é", "gpt-4o", "tiny", "x" * 65, "a\n"])
def test_some_names_cannot_be_aliases(store: Store, versions: tuple[str, ...], name: str) -> None:
    with pytest.raises(InvalidRequest):
        store.aliases.promote("default", name, versions[0], expected=None)
    with pytest.raises(NotFound):
        store.aliases.get("default", name)


def test_aliases_belong_to_their_tenant(store: Store, versions: tuple[str, ...]) -> None:
    moved(store, versions[0])
    assert store.aliases.list("intruder") == ()
    assert store.aliases.resolve("intruder", "prod") is None
    for call in (store.aliases.get, store.aliases.history, store.aliases.roll_back, store.aliases.remove):
        with pytest.raises(NotFound):
            call("intruder", "prod")
    with pytest.raises(NotFound):
        store.aliases.promote("intruder", "prod", versions[0], expected=None)


@pytest.mark.parametrize("point", ["before_alias_move", "between_alias_and_history", "before_alias_commit"])
def test_a_move_that_is_killed_leaves_alias_and_history_as_they_were(
    store: Store, versions: tuple[str, ...], tmp_path: Path, point: str
) -> None:
    if not store._database.is_sqlite:
        pytest.skip("the child opens the home's own database")
    moved(store, versions[0])
    child = os.fork()
    if child == 0:
        os.environ["TAILOR_FAULT"] = point
        again = Store.open(tmp_path / "home", floor_bytes=0)
        again.aliases.promote("default", "prod", versions[1], expected=versions[0])
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert store.aliases.get("default", "prod").model == versions[0]
    assert [move.model for move in store.aliases.history("default", "prod")] == [versions[0]]
    assert moved(store, versions[1]) == versions[1]


def test_tags_and_notes_go_with_their_version(store: Store, versions: tuple[str, ...]) -> None:
    store.labels.change("default", versions[0], add=("good", "mail"), note="first try")
    store.labels.change("default", versions[0], add=("good", "new"), remove=("mail",), note="second")
    assert store.labels.tags("default") == {versions[0]: ("good", "new")}
    assert [note.text for note in store.labels.notes("default", versions[0])] == ["first try", "second"]
    with pytest.raises(NotFound):
        store.labels.change("intruder", versions[0], note="mine")
    assert store.labels.tags("intruder") == {} and store.labels.notes("intruder", versions[0]) == ()
    store.versions.delete("default", versions[0])
    assert store.labels.tags("default") == {}
