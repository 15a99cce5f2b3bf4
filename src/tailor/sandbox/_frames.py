"""Messages on a pipe: four bytes of length, then JSON. Shared by both sides of the wall."""

from __future__ import annotations

import json
import os
from typing import Any, Final

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


def write_frame(descriptor: int, message: dict[str, Any]) -> None:
    """Write one message; raises BrokenPipeError when nobody reads any more."""
    body = json.dumps(message).encode()
    left = memoryview(len(body).to_bytes(4, "big") + body)
    while left:
        left = left[os.write(descriptor, left) :]


def read_frame(descriptor: int) -> bytes | None:
    """The JSON of the next message; None at the end.

    Reads not a byte further, so that what comes later is not in memory yet when an item is worked on.
    """
    header = _read_exactly(descriptor, 4)
    if header is None:
        return None
    length = int.from_bytes(header, "big")
    return _read_exactly(descriptor, length) if length <= MAX_FRAME_BYTES else None


def _read_exactly(descriptor: int, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = os.read(descriptor, min(length - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)
