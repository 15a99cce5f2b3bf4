"""Room on the disk: the floor below which nothing new is taken, and ballast to drop when it is reached."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tailor.errors import InvalidRequest, StorageFull

DEFAULT_FLOOR_BYTES = 1 << 30
BALLAST_BYTES = 64 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NETWORK_FILESYSTEMS = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs")
) | {f"fuse.{kind}" for kind in ("sshfs", "glusterfs", "ceph", "s3fs", "rclone", "gcsfuse")}


def free_bytes(path: Path) -> int:
    """Bytes that an unprivileged process can still write beside `path`."""
    return shutil.disk_usage(path).free


def require_room(path: Path, *, floor_bytes: int, wanted_bytes: int = 0) -> None:
    """Raise StorageFull unless `wanted_bytes` more would leave at least `floor_bytes` free."""
    free = free_bytes(path)
    if free - wanted_bytes < floor_bytes:
        raise StorageFull(
            f"The server's disk has {free >> 20} MiB left and keeps {floor_bytes >> 20} MiB free.",
            remedy="Delete files or models that are no longer needed, or give the server a larger disk.",
        )


@contextmanager
def full_disk_as_error() -> Iterator[None]:
    """Turn the operating system's "no space left" into StorageFull."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull(
                "The server's disk is full.", remedy="Free some space and try again."
            ) from error
        raise


def keep_ballast(home: Path) -> None:
    """Set 64 MiB aside, so that the state can still be written once everything else is full."""
    path = home / "ballast"
    if path.exists():
        return
    with full_disk_as_error(), path.open("xb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, BALLAST_BYTES)


def drop_ballast(home: Path) -> None:
    """Give the ballast up: the next write of state finds room."""
    (home / "ballast").unlink(missing_ok=True)


def refuse_network_filesystem(home: Path, *, mounts: Path = Path("/proc/mounts")) -> None:
    """Raise InvalidRequest if `home` lies on a network mount: neither SQLite nor our locks hold there.

    Asks the kernel's mount table; where there is none (not Linux) nothing is refused.
    """
    if not mounts.exists():
        return
    place = home.resolve()
    best, kind = -1, ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").split("\n"):
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        mount_point = Path(parts[1].replace("\\040", " "))
        if place.is_relative_to(mount_point) and len(mount_point.parts) >= best:
            best, kind = len(mount_point.parts), parts[2]
    if kind in _NETWORK_FILESYSTEMS:
        raise InvalidRequest(
            f"The home directory {home} is on a network filesystem ({kind}), where locks cannot be trusted.",
            remedy="Choose a local disk with --home, or use PostgreSQL for the database.",
        )
