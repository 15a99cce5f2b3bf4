"""The embedded base through upgrades of the package and moves of the home."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tailor.models import EMBEDDED_BASE, embedded_directory, inspect
from tailor.server.bases import add_first_base, renew_embedded_base
from tailor.store import Store
from tests.faults.scene import add_base


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A home that has been used once."""
    opened = Store.open(tmp_path / "home")
    add_first_base(opened)
    return opened


def upgrade(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """A package with another base."""
    shutil.copytree(embedded_directory(), directory)
    (directory / "generation_config.json").write_text('{"eos_token_id": 2}')
    monkeypatch.setattr("tailor.models.EMBEDDED_BASE", "tailor-mini-99", raising=False)
    monkeypatch.setattr("tailor.models.embedded_directory", lambda: directory, raising=False)


def test_a_home_keeps_a_copy_that_computes_the_same(store: Store) -> None:
    [base] = store.bases.list()

    assert base.name == EMBEDDED_BASE
    assert Path(base.directory) == store.home / "bases" / EMBEDDED_BASE
    assert base.digest == inspect(embedded_directory()).digest


def test_after_an_upgrade_both_are_there_and_the_new_one_is_the_default(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.bases.get(EMBEDDED_BASE)
    upgrade(monkeypatch, tmp_path / "package")

    renew_embedded_base(store)
    renew_embedded_base(store)

    assert [base.name for base in store.bases.list()] == [EMBEDDED_BASE, "tailor-mini-99"]
    assert store.bases.get(EMBEDDED_BASE).digest == before.digest
    assert inspect(Path(before.directory)).digest == before.digest
    assert (new := store.bases.default()) is not None
    assert new.name == "tailor-mini-99"


def test_an_upgrade_leaves_a_default_of_the_operators_own(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_base(store, embedded_directory(), "mine")
    store.bases.set_default("mine")
    upgrade(monkeypatch, tmp_path / "package")

    renew_embedded_base(store)

    assert (default := store.bases.default()) is not None
    assert default.name == "mine"


def test_what_the_operator_removed_stays_away(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_base(store, embedded_directory(), "mine")
    store.bases.set_default("mine")
    store.bases.remove(EMBEDDED_BASE)
    upgrade(monkeypatch, tmp_path / "package")

    renew_embedded_base(store)

    assert [base.name for base in store.bases.list()] == ["mine"]


def test_a_home_that_was_moved_takes_its_bases_along(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.close()
    (tmp_path / "home").rename(tmp_path / "moved")
    upgrade(monkeypatch, tmp_path / "package")

    moved = Store.open(tmp_path / "moved")
    renew_embedded_base(moved)

    for base in moved.bases.list():
        assert Path(base.directory) == tmp_path / "moved" / "bases" / base.name
        assert inspect(Path(base.directory)).digest == base.digest
