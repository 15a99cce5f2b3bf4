"""Directories are there completely or not at all, wherever the process dies."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tailor.errors import StorageFull
from tailor.store import (
    Corrupt,
    publish_weights,
    remove_directory,
    sweep_leftovers,
    verify_directory,
    weights_digest,
    write_directory,
)

NAME = "step-00000005.3"


def write(parent: Path, fault: Callable[[str], None]) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    source = parent.parent / "source.json"
    source.write_bytes(b'{"a": 1}' * 1000)
    files: dict[str, bytes | Path | Callable[[Path], None]] = {
        "adapter.safetensors": b"weights" * 10_000,
        "config.json": source,
        "state.safetensors": lambda path: (path.write_bytes(b"state"), None)[1],
    }
    return write_directory(parent, NAME, files, {"step": 5, "token": 3}, fault=fault)


def points(tmp_path: Path) -> list[str]:
    """Every fault point that a write passes, in order."""
    passed: list[str] = []
    write(tmp_path / "recorded" / "checkpoints", passed.append)
    return passed


def test_what_is_written_verifies_and_says_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "home", lambda _name: None)
    manifest = verify_directory(path)
    assert (manifest["step"], manifest["token"]) == (5, 3)
    assert sorted(manifest["files"]) == ["adapter.safetensors", "config.json", "state.safetensors"]
    assert (path / "adapter.safetensors").read_bytes() == b"weights" * 10_000
    assert [entry.name for entry in path.parent.iterdir()] == [NAME]


def test_killed_at_any_named_point_it_leaves_nothing_or_everything(tmp_path: Path) -> None:
    names = points(tmp_path)
    assert len(names) == 3 * 4 + 5
    outcomes = []
    for number, name in enumerate(names):
        parent = tmp_path / f"home-{number}" / "checkpoints"
        child = os.fork()
        if child == 0:
            os.environ["TAILOR_FAULT"] = name
            from tailor.store import reach

            write(parent, reach)
            os._exit(1)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, name
        outcomes.append((parent / NAME).exists())
        if outcomes[-1]:
            verify_directory(parent / NAME)
        else:
            sweep_leftovers(parent)
            verify_directory(write(parent, lambda _name: None))
        assert [entry.name for entry in parent.iterdir()] == [NAME]
    assert outcomes == [False] * (len(names) - 2) + [True, True], "it appears by the rename alone"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_error_at_any_named_point_leaves_nothing_behind(tmp_path: Path, code: int) -> None:
    for number, name in enumerate(points(tmp_path)[:-2]):

        def fail(passed: str, wanted: str = name) -> None:
            if passed == wanted:
                raise OSError(code, os.strerror(code))

        parent = tmp_path / f"home-{number}" / "checkpoints"
        with pytest.raises(StorageFull if code == errno.ENOSPC else OSError):
            write(parent, fail)
        assert list(parent.iterdir()) == []


def damage_a_byte(path: Path) -> None:
    data = bytearray((path / "adapter.safetensors").read_bytes())
    data[100] ^= 1
    (path / "adapter.safetensors").write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        damage_a_byte,
        lambda path: (path / "config.json").unlink(),
        lambda path: (path / "extra").write_bytes(b""),
        lambda path: (path / "MANIFEST.json").unlink(),
        lambda path: (path / "MANIFEST.json").write_bytes(b'{"files": '),
        lambda path: os.truncate(path / "state.safetensors", 3),
    ],
)
def test_damage_is_noticed(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = write(tmp_path / "home", lambda _name: None)
    damage(path)
    with pytest.raises(Corrupt):
        verify_directory(path)


def test_an_existing_directory_is_never_touched(tmp_path: Path) -> None:
    path = write(tmp_path / "home", lambda _name: None)
    with pytest.raises(FileExistsError):
        write_directory(path.parent, NAME, {"other": b""}, {})
    verify_directory(path)


@pytest.mark.parametrize("name", ["../escape", "/etc/x", "", ".hidden", "MANIFEST.json", "a/b"])
def test_file_names_are_plain(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot name"):
        write_directory(tmp_path / "home", "x", {name: b""}, {})
    assert not (tmp_path / "home").exists()


def test_weights_are_found_by_what_they_hold(tmp_path: Path) -> None:
    first = write_directory(tmp_path / "a", "x.1", {"w": b"same"}, {"token": 1})
    again = write_directory(tmp_path / "a", "x.2", {"w": b"same"}, {"token": 2})
    other = write_directory(tmp_path / "a", "x.3", {"w": b"else"}, {})
    expected = weights_digest(first)
    digest = publish_weights(tmp_path, first)
    assert digest == expected == publish_weights(tmp_path, again)
    assert publish_weights(tmp_path, other) != digest
    assert (tmp_path / "weights" / digest / "w").read_bytes() == b"same"
    assert list((tmp_path / "a").iterdir()) == []


def test_damaged_weights_are_not_published(tmp_path: Path) -> None:
    path = write_directory(tmp_path / "a", "x", {"w": b"same"}, {})
    (path / "w").write_bytes(b"sane")
    with pytest.raises(Corrupt):
        publish_weights(tmp_path, path)


def test_removing_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove_directory(tmp_path / "nothing")
