"""Directories that are there completely or not at all (reliability 2.2); every artifact is written here."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tailor.errors import Internal
from tailor.protocol.ids import random_name
from tailor.store.disk import full_disk_as_error
from tailor.store.faults import reach

MANIFEST = "MANIFEST.json"
Content = bytes | Path | Callable[[Path], None]
"""A file's content: its bytes, a file to copy, or a function that writes the file at the path it is given."""
Fault = Callable[[str], None]

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_CHUNK_BYTES = 1 << 20


class Corrupt(Internal):
    """An artifact is not what was written: a file is missing, extra, or has other bytes."""

    default_code = "corrupt_artifact"


def write_directory(
    parent: Path, name: str, files: Mapping[str, Content], manifest: dict[str, Any], *, fault: Fault = reach
) -> Path:
    """Write `parent/name` so that a crash at any moment leaves all of it or nothing.

    Each file is written aside and flushed to the disk, `MANIFEST.json` (size and sha256 of each, with
    what `manifest` adds) comes last, then the whole is renamed into place. Put a lease's token into
    `name`: an existing directory is never touched (FileExistsError). Raises StorageFull; after any
    error nothing of it is left. A failed flush is an error, never tried again on the same file.

    `fault` is told of every point passed, `before_write:<file>` to `after_parent_fsync`, for crash tests.
    """
    for each in files:
        if each == MANIFEST or not _FILE_NAME.fullmatch(each):
            raise ValueError(f"{each!r} cannot name a file of an artifact")
    target = parent / name
    aside = parent / f".tmp-{name}-{random_name(6)}"
    if target.exists():
        raise FileExistsError(f"{name} is already there")
    try:
        with full_disk_as_error():
            parent.mkdir(parents=True, exist_ok=True)
            aside.mkdir()
            entries = {each: _write_file(aside / each, content, fault) for each, content in files.items()}
            fault("before_manifest")
            document = json.dumps(manifest | {"files": entries}, indent=1, sort_keys=True, allow_nan=False)
            _write_synced(aside / MANIFEST, document.encode())
            sync_directory(aside)
            fault("after_manifest")
            fault("before_rename")
            aside.rename(target)
            fault("after_rename")
            sync_directory(parent)
            fault("after_parent_fsync")
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return target


def verify_directory(path: Path) -> dict[str, Any]:
    """The manifest of a directory written by `write_directory`, after reading back every byte.

    Raises Corrupt when anything is missing, extra or different.
    """
    manifest = _read_manifest(path)
    files = manifest["files"]
    found = {entry.name for entry in path.iterdir()} - {MANIFEST}
    if found != set(files):
        raise Corrupt(f"{path.name} does not hold the files of its manifest.")
    for name, entry in files.items():
        if _describe(path / name) != entry:
            raise Corrupt(f"{name} in {path.name} is not what was written.")
    return manifest


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest alone, without reading the files back; raises Corrupt when it cannot be read."""
    return _read_manifest(path)


def remove_directory(path: Path) -> None:
    """Delete a directory so that no reader ever meets half of it: rename first, then delete."""
    trash = path.parent / f".trash-{path.name}-{random_name(6)}"
    try:
        path.rename(trash)
    except FileNotFoundError:
        return
    sync_directory(path.parent)
    shutil.rmtree(trash, ignore_errors=True)


def sweep_leftovers(parent: Path) -> None:
    """Delete what crashes left aside in `parent`; nobody else may be writing there."""
    for leftover in (*parent.glob(".tmp-*"), *parent.glob(".trash-*")):
        shutil.rmtree(leftover, ignore_errors=True)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_file(path: Path, content: Content, fault: Fault) -> dict[str, Any]:
    name = path.name
    fault(f"before_write:{name}")
    if isinstance(content, bytes):
        half = len(content) // 2
        with path.open("xb") as out:
            out.write(content[:half])
            out.flush()
            fault(f"mid_write:{name}")
            out.write(content[half:])
    elif isinstance(content, Path):
        with content.open("rb") as source, path.open("xb") as out:
            out.write(source.read(_CHUNK_BYTES))
            out.flush()
            fault(f"mid_write:{name}")
            shutil.copyfileobj(source, out, _CHUNK_BYTES)
    else:
        content(path)
        fault(f"mid_write:{name}")
    fault(f"after_write:{name}")
    fault(f"before_fsync:{name}")
    with path.open("rb") as written:
        os.fsync(written.fileno())
    return _describe(path)


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
        return {"bytes": content.tell(), "sha256": digest}


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_bytes())
    except (OSError, ValueError) as error:
        raise Corrupt(f"{path.name} has no readable manifest.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise Corrupt(f"{path.name} has a manifest that is none of ours.")
    return manifest
