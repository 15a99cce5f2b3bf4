"""Bytes under their own hash: `blobs/<2>/<sha256>`. The database says what they mean and who may see them."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

from tailor.protocol.ids import random_name
from tailor.store.atomic import Corrupt, sync_directory
from tailor.store.disk import full_disk_as_error, require_room
from tailor.store.locks import FileLock, exclusive

_SHA256 = re.compile(r"[0-9a-f]{64}")
ORPHAN_SECONDS = 24 * 3600
_CHECK_EVERY_BYTES = 64 << 20


class Blobs:
    """The directory of blobs."""

    def __init__(self, home: Path, *, floor_bytes: int) -> None:
        self._root = home / "blobs"
        self._lock = home / "locks" / "blobs.lock"
        self._floor_bytes = floor_bytes
        self._root.mkdir(parents=True, exist_ok=True)

    def part(self) -> Part:
        """A new blob in the making; raises StorageFull below the disk's floor."""
        require_room(self._root, floor_bytes=self._floor_bytes)
        return Part(self._root, floor_bytes=self._floor_bytes)

    def keep(self, part: Part) -> str:
        """Give a synced part its name; its sha256. Hold `guard` until the row that names it is committed."""
        target = self.path(part.sha256)
        with full_disk_as_error():
            target.parent.mkdir(exist_ok=True)
            part.rename(target)
            sync_directory(target.parent)
            sync_directory(self._root)
        return part.sha256

    def path(self, sha256: str) -> Path:
        """Where the blob with this hash is."""
        if not _SHA256.fullmatch(sha256):
            raise ValueError("not a sha256")
        return self._root / sha256[:2] / sha256

    def open(self, sha256: str) -> BinaryIO:
        """The blob's bytes."""
        descriptor = os.open(self.path(sha256), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return os.fdopen(descriptor, "rb")

    def open_verified(self, sha256: str) -> BinaryIO:
        """The blob's bytes once they are known to be the right ones; raises Corrupt."""
        with self.path(sha256).open("rb") as content:
            if hashlib.file_digest(content, "sha256").hexdigest() != sha256:
                raise Corrupt("A stored file no longer has the bytes that were uploaded.")
        return self.open(sha256)

    def remove(self, sha256: str) -> None:
        """Delete a blob. Hold `guard`, and make sure that no row names it."""
        self.path(sha256).unlink(missing_ok=True)

    def guard(self) -> AbstractContextManager[None]:
        """Held while a name and its row come or go together, so that neither outlives the other."""
        return exclusive(self._lock)

    def sweep_parts(self) -> None:
        """Delete parts whose writer is dead."""
        for path in self._root.glob(".part-*"):
            lock = FileLock.try_acquire(path, create=False)
            if lock is not None:
                lock.release(remove=True)

    def old(self) -> Iterator[str]:
        """The hashes of blobs that are older than a day."""
        limit = time.time() - ORPHAN_SECONDS
        for path in self._root.glob("[0-9a-f][0-9a-f]/*"):
            if _SHA256.fullmatch(path.name) and path.stat().st_mtime < limit:
                yield path.name


class Part:
    """A blob being written: hashed on the way, nameless until it is whole."""

    def __init__(self, root: Path, *, floor_bytes: int) -> None:
        self._path = root / f".part-{random_name(16)}"
        self._floor_bytes = floor_bytes
        self._hash = hashlib.sha256()
        self.bytes = 0
        self._next_check = _CHECK_EVERY_BYTES
        # The lock tells a sweep that the writer lives.
        with full_disk_as_error():
            lock = FileLock.try_acquire(self._path)
        if lock is None:
            raise FileExistsError(self._path.name)
        self._lock = lock
        self._file = self._path.open("r+b")

    def write(self, data: bytes) -> None:
        """Append bytes; raises StorageFull when the disk's floor is reached."""
        if self.bytes >= self._next_check:
            require_room(self._path.parent, floor_bytes=self._floor_bytes)
            self._next_check += _CHECK_EVERY_BYTES
        with full_disk_as_error():
            self._file.write(data)
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """The hash of what has been written so far."""
        return self._hash.hexdigest()

    def open(self) -> BinaryIO:
        """What has been written so far, to read it before deciding to keep it."""
        with full_disk_as_error():
            self._file.flush()
        return self._path.open("rb")

    def sync(self) -> None:
        """Make the bytes durable: done before any lock is taken, for it can be slow."""
        with full_disk_as_error():
            self._file.flush()
            os.fsync(self._file.fileno())
            os.fchmod(self._file.fileno(), 0o400)

    def rename(self, target: Path) -> None:
        """Give the synced bytes their name."""
        self._path.rename(target)
        self._file.close()
        self._lock.release()

    def discard(self) -> None:
        """Drop everything, unless it has its name already."""
        if not self._file.closed:
            self._file.close()
            self._lock.release(remove=True)
