"""What models were asked and said during a job, kept beside its saves until the job is over.

A job that was killed tries the same answers again; what a model said of them is read here instead of being
asked for, and paid for, once more. So the job ends with the same bytes, whatever kind of model it asks.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import IO, Any

from tailor.data import canonical_json
from tailor.errors import InvalidRequest
from tailor.protocol import ChatCompletion, ChatRequest

_PATTERN = "asked.*.jsonl"


class Remembered:
    """Answers by their questions. For one event loop at a time."""

    def __init__(self, directory: Path, *, token: int) -> None:
        """Reads what earlier attempts wrote; this one writes a file of its own, named by its `token`."""
        self._path = directory / f"asked.{token}.jsonl"
        self._file: IO[bytes] | None = None
        self._known: dict[str, dict[str, Any]] = {}
        self._asking: dict[str, asyncio.Future[ChatCompletion]] = {}
        for path in sorted(directory.glob(_PATTERN)):
            self._known |= dict(_entries(path))

    async def recall(
        self, request: ChatRequest, ask: Callable[[], Awaitable[ChatCompletion]]
    ) -> ChatCompletion:
        """The answer to a request; `ask` is called if nobody has asked it before, or is asking it now.

        Raises:
            InvalidRequest: the model refuses the request; it would do so again.
        """
        key = _key_of(request)
        if key in self._known:
            return _said(self._known[key])
        if key not in self._asking:
            self._asking[key] = asyncio.ensure_future(self._ask(key, ask))
        try:
            return await self._asking[key]
        finally:
            self._asking.pop(key, None)

    def sync(self) -> None:
        """Make what was written durable."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    async def _ask(self, key: str, ask: Callable[[], Awaitable[ChatCompletion]]) -> ChatCompletion:
        try:
            entry: dict[str, Any] = {"answer": (await ask()).model_dump(mode="json")}
        except InvalidRequest as error:
            entry = {"refusal": {"message": error.message, "code": error.code}}
        self._known[key] = entry
        if self._file is None:
            self._file = self._path.open("ab", buffering=0)
        self._file.write(json.dumps({"key": key} | entry).encode() + b"\n")
        return _said(entry)


def _said(entry: dict[str, Any]) -> ChatCompletion:
    if "answer" in entry:
        return ChatCompletion.model_validate(entry["answer"])
    raise InvalidRequest(entry["refusal"]["message"], code=entry["refusal"]["code"])


def _key_of(request: ChatRequest) -> str:
    values = request.model_dump(mode="json", exclude_unset=True)
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()


def _entries(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """What a file holds; its last line may be cut off."""
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        found.append((entry.pop("key"), entry))
    return found
