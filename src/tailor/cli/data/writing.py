"""Files that a verb writes: whole or not at all, and never over what was read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from tailor.errors import InvalidRequest


def refuse_overwriting(out: Path, sources: Sequence[Path], *, force: bool) -> None:
    """Keep what is there.

    Raises:
        InvalidRequest: The file to write is one that is read, is there already, or lies nowhere.
    """
    if any(_is_same(out, source) for source in sources):
        raise InvalidRequest(
            f"{out} is the file that is read, and it is never written to.", remedy="Name another with -o."
        )
    if out.is_dir():
        raise InvalidRequest(f"{out} is a directory.", remedy="Name a file in it.")
    if out.exists() and not force:
        raise InvalidRequest(f"{out} is there already.", remedy="Name another file, or say --force.")
    if not out.parent.is_dir():
        raise InvalidRequest(f"There is no directory {out.parent}.", remedy="Create it first.")


@contextmanager
def written(out: Path) -> Iterator[BinaryIO]:
    """A file that takes its name when everything is in it; an error leaves nothing behind."""
    part = out.with_name(f".{out.name}.part-{os.getpid()}")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(out)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):
        return one.samefile(other)
    return False
