"""Safetensors files, believed only after their header adds up (reliability R1).

Layout of the format: 8 bytes little-endian header length, a JSON header that names each tensor's dtype,
shape and byte range, then the bytes, without gap or overlap.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from torch import Tensor

MAX_HEADER_BYTES = 16 * 2**20
_CHECKED_ELEMENTS = 2**22
_DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U8": 1,
    "BOOL": 1,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorEntry:
    """One tensor as the header declares it."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the end of the header."""

    @property
    def num_elements(self) -> int:
        """Product of the shape; 1 for a scalar."""
        return math.prod(self.shape)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """What a safetensors file holds, by tensor name.

    Raises:
        InvalidRequest: the file is no safetensors file, or its header contradicts its size.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or not 2 <= length <= MAX_HEADER_BYTES or 8 + length > size:
            raise _refused(path, "it does not start with a safetensors header")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _refused(path, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _refused(path, "its header is not a JSON object")
    header.pop("__metadata__", None)
    ranges, entries = [], {}
    for name, value in header.items():
        entry, begin, end = _entry(path, name, value)
        entries[name] = entry
        ranges.append((begin, end))
    position = 0
    for begin, end in sorted(ranges):
        if begin != position:
            raise _refused(path, "its tensors overlap or leave a gap")
        position = end
    if position != size - 8 - length:
        raise _refused(path, "its tensors do not fill the file exactly")
    return entries


def read_tensors(path: Path, expected: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, Tensor]:
    """All tensors of a safetensors file, after checking header, names, shapes and that all values are finite.

    Raises:
        InvalidRequest: the header is wrong, the names or shapes are not the `expected` ones, or a value is
            infinite or not a number.
    """
    from safetensors.torch import load_file
    from torch import isfinite

    found = {name: entry.shape for name, entry in read_header(path).items()}
    if expected is not None and found != dict(expected):
        wrong = sorted(found.items() ^ dict(expected).items())[:3]
        raise _refused(path, f"its tensors are not the expected ones, for example {wrong}")
    tensors: dict[str, Tensor] = load_file(path)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not isfinite(tensor).all():
            raise _refused(path, f"tensor {name!r} holds a value that is not finite")
    return tensors


def each_tensor(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a safetensors file one after the other, read rather than mapped: none is kept.

    Raises:
        InvalidRequest: the header is wrong, or a value is infinite or not a number.
    """
    import torch

    dtypes = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    header = read_header(path)
    with path.open("rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
        for name, entry in sorted(header.items(), key=lambda item: item[1].begin):
            if entry.dtype not in dtypes:
                raise _refused(path, f"tensor {name!r} has dtype {entry.dtype}, which is no weight")
            file.seek(begin + entry.begin)
            raw = bytearray(entry.num_elements * _DTYPE_BYTES[entry.dtype])
            if file.readinto(raw) != len(raw):
                raise _refused(path, f"tensor {name!r} is cut off")
            tensor = torch.frombuffer(raw, dtype=dtypes[entry.dtype]).view(entry.shape)
            # Part by part: checking makes copies, and the largest tensor is a quarter of some models.
            parts = torch.split(tensor.flatten(), _CHECKED_ELEMENTS)
            if not all(bool(part.isfinite().all()) for part in parts):
                raise _refused(path, f"tensor {name!r} holds a value that is not finite")
            yield name, tensor


def _entry(path: Path, name: str, value: object) -> tuple[TensorEntry, int, int]:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _refused(path, f"the entry of tensor {name!r} is malformed")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if dtype not in _DTYPE_BYTES:
        raise _refused(path, f"tensor {name!r} has dtype {dtype!r}, which is not supported")
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    if len(numbers) != len(shape) + 2 or not all(type(n) is int and n >= 0 for n in numbers):
        raise _refused(path, f"shape or offsets of tensor {name!r} are not whole numbers")
    begin, end = offsets
    entry = TensorEntry(dtype=dtype, shape=tuple(shape), begin=begin)
    if end - begin != entry.num_elements * _DTYPE_BYTES[dtype]:
        raise _refused(path, f"tensor {name!r} declares a size that its shape does not have")
    return entry, begin, end


def _refused(path: Path, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"{path.name} is refused: {reason}.",
        code="unsafe_weights",
        remedy="Save the weights again as safetensors, for example with save_pretrained().",
    )
