"""Large files are hashed once, and again as soon as anything about them is different."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from tailor.models import _digests
from tailor.models._digests import file_digest


@pytest.fixture
def hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were really read, in order; every file counts as large and settled."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(_digests, "_LEAST_BYTES", 0)
    monkeypatch.setattr(_digests, "_SETTLED_SECONDS", 0.0)
    read: list[Path] = []

    def hash_and_note(path: Path) -> str:
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(_digests, "_hash", hash_and_note)
    return read


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


def test_a_file_is_read_once(weights: Path, hashed: list[Path]) -> None:
    digest = hashlib.sha256(b"weights").hexdigest()

    assert [file_digest(weights) for _ in range(3)] == [digest] * 3
    assert hashed == [weights]


def test_other_bytes_of_the_same_size_and_time_are_noticed(weights: Path, hashed: list[Path]) -> None:
    file_digest(weights)
    times = weights.stat()
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert file_digest(weights) == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_a_file_put_in_anothers_place_is_noticed(weights: Path, hashed: list[Path]) -> None:
    file_digest(weights)
    other = weights.with_name("other")
    other.write_bytes(b"WEIGHTS")
    other.replace(weights)

    assert file_digest(weights) == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_a_damaged_note_is_not_believed(weights: Path, hashed: list[Path], tmp_path: Path) -> None:
    digest = file_digest(weights)
    (note,) = (tmp_path / "cache" / "tailor" / "digests").iterdir()
    for content in (b"", b"[]", b"{}", b'{"stamp": 3, "sha256": "x"}'):
        note.write_bytes(content)
        assert file_digest(weights) == digest


def test_a_file_that_may_still_change_is_not_remembered(
    weights: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_digests, "_SETTLED_SECONDS", 60.0)

    file_digest(weights)
    file_digest(weights)

    assert len(hashed) == 2


def test_without_a_place_to_remember_it_still_works(
    weights: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(weights))  # a file, not a directory

    assert file_digest(weights) == file_digest(weights)
    assert len(hashed) == 2
