"""Which encoding a text is in, from its first bytes, and text from bytes without ever giving up.

Bytes that are no UTF-8 become lone surrogates on the way to text: whoever meets one knows the line it is
in, and `broken_text` says so.
"""

from __future__ import annotations

import codecs
import io
import re
from dataclasses import dataclass
from typing import BinaryIO, Final

from tailor.data.problems import Problem
from tailor.errors import InvalidRequest

SAMPLE_BYTES: Final = 1 << 20
"""What is looked at to guess an encoding or a format."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MULTIBYTE: Final = re.compile(rb"[\xc3-\xdf][\x80-\xbf]|[\xe1-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_HIGH: Final = re.compile(rb"[\x80-\xff]+")
_UNDEFINED_IN_1252: Final = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_POISON: Final = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoding:
    """How bytes become text."""

    name: str
    """As Python calls it."""

    is_guess: bool = False
    """Whether nothing in the bytes proves it."""

    def text(self, stream: BinaryIO) -> io.TextIOWrapper:
        """The stream as text, line ends as they are."""
        return io.TextIOWrapper(stream, encoding=self.name, errors=self._errors, newline="")

    def decode(self, data: bytes) -> str:
        """A sample as text; a character that is cut at the end is left out."""
        return codecs.getincrementaldecoder(self.name)(self._errors).decode(data)

    def as_utf8(self, stream: BinaryIO) -> BinaryIO:
        """The stream in UTF-8."""
        if self.name in ("utf-8", "utf-8-sig"):
            return stream
        return io.BufferedReader(_Transcoded(stream, self), 1 << 17)

    @property
    def _errors(self) -> str:
        return "replace" if self.name.startswith(("utf-16", "utf-32")) else "surrogateescape"

    @property
    def advice(self) -> Problem | None:
        """What to tell about it; None for UTF-8."""
        if self.name in ("utf-8", "utf-8-sig"):
            return None
        said = "seems to be" if self.is_guess else "is"
        return Problem(
            line=None,
            code="encoding_guessed",
            message=f"the text {said} {self.name}, not UTF-8; it was converted.",
            remedy="Look at accents and other special characters; --encoding NAME overrides the guess."
            if self.is_guess
            else "Save it as UTF-8 to be sure.",
            severity="advice",
        )


def encoding_of(sample: bytes, asked: str | None = None) -> Encoding:
    """The encoding of a text that starts with these bytes.

    Raises:
        InvalidRequest: There is no encoding of the name that was asked for.
    """
    if asked is not None:
        try:
            return Encoding(name=codecs.lookup(asked).name)
        except LookupError as error:
            raise InvalidRequest(
                f"There is no encoding {asked[:40]!r}.", remedy="Say utf-8, utf-16, cp1252 or the like."
            ) from error
    for mark, name in _MARKS:
        if sample.startswith(mark):
            return Encoding(name=name)
    zeros = sample.count(0)
    if zeros > len(sample) // 4:
        little = sample[1::2].count(0) > sample[0::2].count(0)
        return Encoding(name="utf-16-le" if little else "utf-16-be", is_guess=True)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
        return Encoding(name="utf-8")
    except UnicodeDecodeError:
        return _legacy_encoding(sample)


def broken_text(line: int, text: str, field: str | None) -> Problem | None:
    """What keeps a text from being stored: a byte of another encoding, a NUL, half a character."""
    if text.isascii() and "\0" not in text:
        return None
    poison = _POISON.search(text)
    if poison is None:
        return None
    if poison[0] == "\0":
        return Problem(
            line=line, code="nul", field=field, message="there is a NUL character.", remedy="Remove it."
        )
    code = ord(poison[0])
    if 0xDC80 <= code <= 0xDCFF:
        return Problem(
            line=line,
            code="not_utf8",
            field=field,
            message=f"the byte 0x{code - 0xDC00:02x} is not UTF-8.",
            remedy="Save the file as UTF-8, or say what it is with --encoding.",
        )
    return Problem(
        line=line,
        code="lone_surrogate",
        field=field,
        message="there is half a surrogate pair.",
        remedy="The text was cut inside a character, such as an emoji; write the whole one.",
    )


def _legacy_encoding(sample: bytes) -> Encoding:
    high = sum(len(run) for run in _HIGH.findall(sample))
    multibyte = sum(len(found) for found in _MULTIBYTE.findall(sample))
    if 2 * multibyte > high:
        return Encoding(name="utf-8")  # damaged in places: each of them is reported with its line
    # Western text has few accents; where every other byte is high, the alphabet is another one.
    if high * 8 < len(sample) and not _UNDEFINED_IN_1252.search(sample):
        return Encoding(name="cp1252", is_guess=True)
    try:
        from charset_normalizer import from_bytes
    except ModuleNotFoundError:
        return Encoding(name="cp1252", is_guess=True)
    best = from_bytes(sample[: 1 << 16]).best()
    return Encoding(name=best.encoding if best else "cp1252", is_guess=True)


class _Transcoded(io.RawIOBase):
    def __init__(self, stream: BinaryIO, encoding: Encoding) -> None:
        self._text = encoding.text(stream)
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        if not self._waiting:
            self._waiting = self._text.read(1 << 16).encode("utf-8", "surrogateescape")
        count = min(len(buffer), len(self._waiting))
        buffer[:count] = self._waiting[:count]
        self._waiting = self._waiting[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            self._text.close()
        super().close()
