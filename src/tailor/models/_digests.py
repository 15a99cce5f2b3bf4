"""SHA-256 of files. A large one is hashed once and remembered for as long as the file stays as it is.

Remembered in the user's cache directory (`XDG_CACHE_HOME`, else `~/.cache`), so that a server and its workers
do not each read a large base twice. What the kernel notes of a file (size, times, inode) tells whether it
is the same; the time of change cannot be set back by a program, unlike the time of modification.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from pathlib import Path

_LEAST_BYTES = 32 << 20
"""Smaller files are hashed in less time than it would take to explain why they were not."""

_SETTLED_SECONDS = 2.0
"""A file changed this recently may change again within one tick of its clock."""


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's content."""
    stamp = _stamp(path)
    if stamp[0] < _LEAST_BYTES:
        return _hash(path)
    note = _note_for(path)
    known = _read(note, stamp) if note is not None else None
    if known is not None:
        return known
    digest = _hash(path)
    is_settled = time.time_ns() - max(stamp[1:3]) > _SETTLED_SECONDS * 1e9
    if note is not None and is_settled and _stamp(path) == stamp:
        _write(note, stamp, digest)
    return digest


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> list[int]:
    """Size, times of modification and change in nanoseconds, inode, device: the same while the file is."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _note_for(path: Path) -> Path | None:
    """Where the digest of this file is remembered; None for a user without a home."""
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return cache / "tailor" / "digests" / f"{name}.json"


def _read(note: Path, stamp: list[int]) -> str | None:
    try:
        found = json.loads(note.read_bytes())
        return str(found["sha256"]) if found["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(note: Path, stamp: list[int], digest: str) -> None:
    """Remember; a full or read-only disk only means that the file is hashed again."""
    try:
        note.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        number, name = tempfile.mkstemp(dir=note.parent)
        with os.fdopen(number, "w", encoding="ascii") as file:
            json.dump({"stamp": stamp, "sha256": digest}, file)
        Path(name).replace(note)
    except OSError:
        return
