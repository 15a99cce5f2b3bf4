"""Trained weights, each directory under the hash of what it holds."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tailor.store.atomic import (
    Corrupt,
    read_manifest,
    remove_directory,
    sync_directory,
    verify_directory,
)
from tailor.store.locks import exclusive

_DIGEST = re.compile(r"[0-9a-f]{64}")
ORPHAN_SECONDS = 24 * 3600


class Weights:
    """The directories `weights/<digest>`: immutable, shared by the versions that name them."""

    def __init__(self, home: Path) -> None:
        self._root = home / "weights"
        self._lock = home / "locks" / "weights.lock"
        self._root.mkdir(parents=True, exist_ok=True)
        self._lock.parent.mkdir(exist_ok=True)

    def path(self, digest: str) -> Path:
        """Where the weights with this digest are."""
        if not _DIGEST.fullmatch(digest):
            raise ValueError("not a digest of ours")
        return self._root / digest

    def has(self, digest: str) -> bool:
        """Whether these weights are here."""
        return self.path(digest).is_dir()

    def verify(self, digest: str) -> Path:
        """Their directory, after reading back every byte; raises Corrupt."""
        path = self.path(digest)
        verify_directory(path)
        return path

    def publish(self, directory: Path) -> str:
        """Move a directory made by `write_directory` here; its digest. Doing it again changes nothing."""
        digest = digest_of(verify_directory(directory)["files"])
        target = self.path(digest)
        if target.exists():
            # Its age decides whether a sweep may take it, so it is young again.
            os.utime(target)
            remove_directory(directory)
        else:
            directory.rename(target)
            os.utime(target)
            sync_directory(self._root)
            sync_directory(directory.parent)
        return digest

    def guard(self) -> AbstractContextManager[None]:
        """Held while weights and the row that names them come or go together."""
        return exclusive(self._lock)

    @contextmanager
    def holding(self, digest: str) -> Iterator[None]:
        """The guard, with these weights known to be here; raises Corrupt if they are not."""
        with self.guard():
            if not self.has(digest):
                raise Corrupt(f"The weights {digest[:12]} are not in the store.")
            yield

    def remove(self, digest: str) -> None:
        """Delete the weights with this digest, if they are here."""
        remove_directory(self.path(digest))

    def orphans(self, known: set[str]) -> list[str]:
        """Digests that are here, unknown to the database and older than a day."""
        limit = time.time() - ORPHAN_SECONDS
        return [
            entry.name
            for entry in self._root.iterdir()
            if _DIGEST.fullmatch(entry.name) and entry.name not in known and entry.stat().st_mtime < limit
        ]


def publish_weights(home: Path, directory: Path) -> str:
    """Move `directory` into `home/weights/<digest>` and return the digest."""
    return Weights(home).publish(directory)


def weights_digest(directory: Path) -> str:
    """The digest that `publish_weights` would give this directory, by its manifest."""
    return digest_of(read_manifest(directory)["files"])


def digest_of(files: dict[str, object]) -> str:
    """The hash over names, sizes and hashes of the files; what else the manifest says does not count."""
    canonical = json.dumps(files, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
