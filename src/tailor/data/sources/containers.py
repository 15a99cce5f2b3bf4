"""Where files lie: alone, in a folder, in a ZIP or tar archive. Nothing is ever unpacked to the disk."""

from __future__ import annotations

import io
import re
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Final, Protocol, cast

from tailor.data.sources.streams import DAMAGE, Meter, unpacked
from tailor.errors import InvalidRequest

_PACKED: Final = (".gz", ".bz2", ".xz", ".zst")
_DATA_SUFFIXES: Final = frozenset(
    {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab", ".xlsx", ".xlsm", ".parquet", ".arrow", ".xml"}
)
_MAYBE_SUFFIXES: Final = frozenset({"", ".txt", ".dat"})
_ARCHIVES: Final = (".tar", ".tgz", ".zip")
_ABOUT_DATA: Final = frozenset(
    [
        "readme",
        "license",
        "licence",
        "source",
        "sources",
        "citation",
        "notice",
        "authors",
        "contributing",
        "changelog",
        "tags",
        "schema",
        "metadata",
        "metrics",
        "dataset_info",
        "dataset_infos",
        "dataset_dict",
        "state",
        "cache",
    ]
)
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
SPLITS: Final = ("train", "validation", "test")
"""The splits that names speak of."""

_SPLIT_WORDS: Final = {
    "train": "train", "training": "train", "trainset": "train", "trainingset": "train",
    "validation": "validation", "validate": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "devset": "validation",
    "test": "test", "testing": "test", "testset": "test", "eval": "test",
}  # fmt: skip


class Container(Protocol):
    """Named files, read one after the other."""

    def names(self) -> list[str]:
        """All of them."""

    def streams(self, wanted: AbstractSet[str], meter: Meter) -> Iterator[tuple[str, BinaryIO]]:
        """The wanted ones, unpacked, in the order they lie in; each is closed when the next is asked for."""

    @property
    def num_bytes(self) -> int:
        """On the disk."""


@dataclass(frozen=True, slots=True)
class OneFile:
    """A file by itself."""

    path: Path

    def names(self) -> list[str]:
        """Its name."""
        return [self.path.name]

    def streams(self, wanted: AbstractSet[str], meter: Meter) -> Iterator[tuple[str, BinaryIO]]:
        """The file."""
        with unpacked(meter.open(self.path)) as stream:
            yield self.path.name, stream

    @property
    def num_bytes(self) -> int:
        """On the disk."""
        return self.path.stat().st_size


@dataclass(frozen=True, slots=True)
class Folder:
    """All files below a folder, in the order of their names."""

    path: Path

    def names(self) -> list[str]:
        """Relative to the folder."""
        found = (file.relative_to(self.path) for file in self.path.rglob("*") if file.is_file())
        return sorted(name.as_posix() for name in found if not any(part[0] == "." for part in name.parts))

    def streams(self, wanted: AbstractSet[str], meter: Meter) -> Iterator[tuple[str, BinaryIO]]:
        """The wanted files."""
        for name in sorted(wanted):
            with unpacked(meter.open(self.path / name)) as stream:
                yield name, stream

    @property
    def num_bytes(self) -> int:
        """On the disk."""
        return sum((self.path / name).stat().st_size for name in self.names())


@dataclass(frozen=True, slots=True)
class Zip:
    """The members of a ZIP archive."""

    path: Path

    def names(self) -> list[str]:
        """Of the members that are files."""
        with zipfile.ZipFile(self.path) as archive:
            return [member.filename for member in archive.infolist() if _is_real(member.filename)]

    def streams(self, wanted: AbstractSet[str], meter: Meter) -> Iterator[tuple[str, BinaryIO]]:
        """The wanted members."""
        with meter.open(self.path) as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.filename not in wanted:
                    continue
                if member.flag_bits & 1:
                    raise InvalidRequest(f"{self.path.name} is encrypted.", remedy="Unpack it first.")
                with unpacked(cast(BinaryIO, archive.open(member))) as stream:
                    yield member.filename, stream

    @property
    def num_bytes(self) -> int:
        """On the disk."""
        return self.path.stat().st_size


@dataclass(frozen=True, slots=True)
class Tar:
    """The members of a tar archive, compressed or not: one pass from front to back."""

    path: Path

    def names(self) -> list[str]:
        """Of the members that are files."""
        with self._members(Meter()) as members:
            return [member.name for _, member in members if _is_real(member.name)]

    def streams(self, wanted: AbstractSet[str], meter: Meter) -> Iterator[tuple[str, BinaryIO]]:
        """The wanted members; stops after the last of them."""
        left = set(wanted)
        with self._members(meter) as members:
            for archive, member in members:
                if member.name not in left:
                    continue
                left.discard(member.name)
                with unpacked(cast(BinaryIO, _Member(cast(BinaryIO, archive.extractfile(member))))) as stream:
                    yield member.name, stream
                if not left:
                    return

    @property
    def num_bytes(self) -> int:
        """On the disk."""
        return self.path.stat().st_size

    @contextmanager
    def _members(self, meter: Meter) -> Iterator[Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]]:
        with unpacked(meter.open(self.path)) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            yield _files_in(archive)


class _Member(io.RawIOBase):
    """A member of a tar archive that is read from front to back, which its own file object cannot say."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def _files_in(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    while (member := archive.next()) is not None:
        if member.isfile():
            yield archive, member
        archive.members.clear()  # type: ignore[attr-defined]  # else it remembers all it has passed


def container_at(path: Path) -> Container:
    """What lies at a path.

    Raises:
        InvalidRequest: Nothing does, or it may not be read.
    """
    if path.is_dir():
        folder = Folder(path)
        names = folder.names()
        archives = [name for name in names if suffix_of(name) in _ARCHIVES]
        # A folder with nothing but one archive (and a README) stands for the archive.
        return container_at(path / archives[0]) if len(archives) == 1 and not data_files(names) else folder
    with unpacked(Meter().open(path)) as stream:
        head = _start_of(stream, 512)
    if head[257:262] == b"ustar":
        return Tar(path)
    if head.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if "xl/workbook.xml" not in archive.namelist():
                return Zip(path)
    return OneFile(path)


def suffix_of(name: str) -> str:
    """What a file's name says it is, compression aside: `.jsonl` for `mails.jsonl.gz`."""
    pure = PurePosixPath(name.lower())
    return PurePosixPath(pure.stem).suffix if pure.suffix in _PACKED else pure.suffix


def data_files(names: Sequence[str]) -> list[str]:
    """Those of several files that hold data, and not words about it."""
    real = [name for name in names if not _is_about_data(name)]
    return [name for name in real if suffix_of(name) in _DATA_SUFFIXES] or [
        name for name in real if suffix_of(name) in _MAYBE_SUFFIXES
    ]


def split_of(name: str) -> str | None:
    """The split that a file's name, or else its folder's, speaks of: train, validation or test."""
    for part in reversed(PurePosixPath(name).parts):
        for word in _WORD.findall(part):
            if (split := _SPLIT_WORDS.get(word.lower())) is not None:
                return split
    return None


def _is_about_data(name: str) -> bool:
    stem = PurePosixPath(name).name.partition(".")[0].lower()
    words = {word.lower() for word in _WORD.findall(PurePosixPath(name).name.partition(".")[0])}
    return stem in _ABOUT_DATA or stem.startswith("cache-") or bool(words & {"schema", "metrics", "metadata"})


def _is_real(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return (
        bool(parts)
        and not name.endswith("/")
        and not any(part[0] == "." or part == "__MACOSX" for part in parts)
    )


def read_some(container: Container, name: str, num_bytes: int) -> bytes:
    """The first bytes of one file."""
    for _, stream in container.streams({name}, Meter()):
        return _start_of(stream, num_bytes)
    return b""


def _start_of(stream: BinaryIO, num_bytes: int) -> bytes:
    """As much of the beginning as can be had: where the rest is damaged, the reading says so."""
    data = b""
    with suppress(*DAMAGE):
        # All streams of a container are buffered readers; `read` would lose what comes before the damage.
        while len(data) < num_bytes and (
            chunk := cast(io.BufferedReader, stream).read1(num_bytes - len(data))
        ):
            data += chunk
    return data
