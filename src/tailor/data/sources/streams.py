"""From a place on the disk to the bytes of a text: counted, unpacked, never written anywhere but a spool."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from tailor.data.sources.extras import needed
from tailor.errors import InvalidRequest

_BUFFER_BYTES: Final = 1 << 17

DAMAGE: Final = (EOFError, OSError, lzma.LZMAError, zlib.error)
"""What the standard library raises for compressed bytes that are cut short or changed."""


class Meter:
    """Counts the bytes that a reading has taken from the disk."""

    def __init__(self) -> None:
        self.num_bytes = 0

    def open(self, path: Path) -> BinaryIO:
        """A file whose bytes are counted.

        Raises:
            InvalidRequest: It does not exist, or may not be read.
        """
        try:
            return io.BufferedReader(_Counted(path, self), _BUFFER_BYTES)
        except FileNotFoundError as error:
            raise InvalidRequest(f"There is no file {path}.", remedy="Check the spelling.") from error
        except PermissionError as error:
            raise InvalidRequest(f"{path} may not be read.", remedy="Check its permissions.") from error


class _Counted(io.FileIO):
    def __init__(self, path: Path, meter: Meter) -> None:
        super().__init__(path)
        self._meter = meter

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:  # type: ignore[override]
        count = super().readinto(buffer)
        self._meter.num_bytes += count or 0
        return count

    def readall(self) -> bytes:
        data = super().readall()
        self._meter.num_bytes += len(data)
        return data


def unpacked(stream: BinaryIO) -> BinaryIO:
    """The bytes inside gzip, bzip2, xz or Zstandard; any other stream as it is.

    Closing the result closes the stream.
    """
    buffered = (
        stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream))
    )
    magic = buffered.peek(6)[:6]
    inner: io.IOBase
    if magic.startswith(b"\x1f\x8b"):
        inner = gzip.GzipFile(fileobj=buffered)
    elif magic.startswith(b"BZh"):
        inner = bz2.BZ2File(buffered)
    elif magic.startswith(b"\xfd7zXZ\x00"):
        inner = lzma.LZMAFile(buffered)  # noqa: SIM115 - closed with what it reads from
    elif magic.startswith(b"\x28\xb5\x2f\xfd"):
        inner = needed("zstandard").ZstdDecompressor().stream_reader(buffered, read_across_frames=True)
    else:
        return buffered
    return cast(BinaryIO, _Owning(inner, buffered))


class _Owning(io.BufferedReader):
    """Reads what was unpacked; closing it closes the packed bytes too."""

    def __init__(self, inner: io.IOBase, packed: io.BufferedReader) -> None:
        super().__init__(cast(io.RawIOBase, inner), _BUFFER_BYTES)
        self._packed = packed

    def close(self) -> None:
        super().close()
        self._packed.close()


@contextmanager
def seekable(stream: BinaryIO) -> Iterator[BinaryIO]:
    """The stream, or a copy of it in a temporary file where one must be able to go back (Parquet, Excel)."""
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
        yield stream
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(stream, copy, 1 << 20)
        copy.seek(0)
        yield copy
