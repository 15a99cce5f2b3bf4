"""Takes in a multipart upload as it arrives: file bytes go straight to the store, memory stays flat (R8)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool

from tailor.errors import InvalidRequest, TooLarge
from tailor.protocol import MAX_FILE_BYTES, UPLOAD_PURPOSES
from tailor.store import Receiver

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_FIELD_BYTES = 4096
_MAX_PARTS = 32
_CHUNK_BYTES = 256 * 1024
_BATCH_SECONDS = 30 * 24 * 3600
_EXPIRY_SECONDS = range(3600, 2_592_001)


@dataclass(frozen=True, kw_only=True, slots=True)
class UploadForm:
    """What the form said about the file."""

    filename: str
    purpose: str
    expires_after_seconds: int | None


async def receive_upload(chunks: AsyncIterator[bytes], content_type: str, receiver: Receiver) -> UploadForm:
    """Write the part `file` to `receiver` and return the other fields; parts may come in any order.

    Raises:
        InvalidRequest: the form is malformed, ends too early, or a field is missing or wrong.
        TooLarge: the file is over 512 MiB.
    """
    parts = _Parts(receiver)
    parser = MultipartParser(_boundary(content_type), parts.callbacks())
    pending = bytearray()
    try:
        async for chunk in chunks:
            pending += chunk
            if len(pending) >= _CHUNK_BYTES:
                await run_in_threadpool(parser.write, bytes(pending))
                pending.clear()
        await run_in_threadpool(parser.write, bytes(pending))
    except FormParserError as error:
        raise _malformed("is not valid multipart/form-data") from error
    return parts.form()


class _Parts:
    """Collects small fields and passes the file's bytes on, called by the parser."""

    def __init__(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.fields: dict[str, bytes] = {}
        self.filename: str | None = None
        self.ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header = [bytearray(), bytearray()]
        self._name = ""
        self._value = bytearray()
        self._count = 0

    def callbacks(self) -> MultipartCallbacks:
        """The names that python-multipart calls."""
        return {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_content,
            "on_part_data": self._take,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def form(self) -> UploadForm:
        """The whole form, checked."""
        if not self.ended:
            raise _malformed("ends before its last part does")
        if self.filename is None:
            raise _missing("file")
        if "purpose" not in self.fields:
            raise _missing("purpose")
        if self.receiver.num_bytes == 0:
            raise InvalidRequest("The file is empty.", param="file", code="empty_file")
        purpose = self.fields["purpose"].decode()
        return UploadForm(
            filename=self.filename, purpose=purpose, expires_after_seconds=self._expiry(purpose)
        )

    def _begin_part(self) -> None:
        self._count += 1
        if self._count > _MAX_PARTS:
            raise _malformed(f"has more than {_MAX_PARTS} parts")
        self._headers = {}

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = [bytearray(), bytearray()]

    def _begin_content(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._value = bytearray()
        if self._name == "file":
            if self.filename is not None:
                raise _malformed("has two parts named 'file'")
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace") or "upload"

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._name != "file":
            if len(self._value) + end - start > _MAX_FIELD_BYTES:
                raise InvalidRequest(f"The field is over {_MAX_FIELD_BYTES} bytes.", param=self._name[:64])
            self._value += data[start:end]
            return
        if self.receiver.num_bytes + end - start > MAX_FILE_BYTES:
            raise TooLarge(f"The file is larger than {MAX_FILE_BYTES:,} bytes.", param="file")
        self.receiver.write(data[start:end])

    def _end_part(self) -> None:
        if self._name != "file":
            self.fields[self._name] = bytes(self._value)
        if self._name == "purpose":
            # At once, so that a wrong purpose need not wait for the whole file.
            _check_purpose(self.fields["purpose"])

    def _end(self) -> None:
        self.ended = True

    def _expiry(self, purpose: str) -> int | None:
        anchor = self.fields.get("expires_after[anchor]")
        seconds = self.fields.get("expires_after[seconds]")
        if anchor is None and seconds is None:
            return _BATCH_SECONDS if purpose == "batch" else None
        if anchor != b"created_at":
            raise InvalidRequest(
                "Invalid value for 'expires_after[anchor]': should be 'created_at'.",
                param="expires_after[anchor]",
                code="invalid_value",
            )
        # Ten digits at most: int() of a longer text costs time for nothing.
        digits = seconds if seconds is not None and seconds.isdigit() and len(seconds) <= 10 else b"0"
        if int(digits) not in _EXPIRY_SECONDS:
            raise InvalidRequest(
                "Invalid value for 'expires_after[seconds]': should be a whole number from 3600 to 2592000.",
                param="expires_after[seconds]",
                code="invalid_value",
            )
        return int(digits)


def _check_purpose(value: bytes) -> None:
    if value.decode("utf-8", "replace") not in UPLOAD_PURPOSES:
        raise InvalidRequest(
            f"Invalid value for 'purpose': should be one of {', '.join(UPLOAD_PURPOSES)}.",
            param="purpose",
            code="invalid_value",
        )


def _boundary(content_type: str) -> bytes:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary or len(boundary) > 200:
        raise _malformed("has no usable boundary in its Content-Type")
    return boundary


def _malformed(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"The upload {reason}.",
        code="invalid_multipart",
        remedy="Send multipart/form-data with the parts 'purpose' and 'file'.",
    )


def _missing(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
    )
