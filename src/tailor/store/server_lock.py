"""One server per home, and how the command line finds it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType

from tailor.errors import InvalidRequest
from tailor.store.locks import FileLock


class ServerLock:
    """Held by the one server of a home, for as long as it lives."""

    def __init__(self, home: Path, lock: FileLock) -> None:
        self._home = home
        self._lock = lock

    @classmethod
    def acquire(cls, home: Path, url: str) -> ServerLock:
        """Become the server of this home and note the url; raises InvalidRequest naming the one there is."""
        (home / "locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock.try_acquire(_lock_path(home))
        if lock is None:
            note = _read_note(home)
            raise InvalidRequest(
                f"A server is already running on {home}: {note.get('url', 'starting')}, "
                f"process {note.get('pid', 'unknown')}.",
                code="server_already_running",
                remedy="Use that one, stop it, or choose another home with --home.",
            )
        note_path = _note_path(home)
        note_path.unlink(missing_ok=True)
        aside = note_path.with_suffix(".new")
        aside.write_text(json.dumps({"pid": os.getpid(), "url": url}), encoding="utf-8")
        aside.replace(note_path)
        return cls(home, lock)

    def release(self) -> None:
        """Let another server take the home."""
        _note_path(self._home).unlink(missing_ok=True)
        self._lock.release()

    def __enter__(self) -> ServerLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def read_server(home: Path) -> str | None:
    """The url of the live server of this home; None when there is none."""
    if not _lock_path(home).exists():
        return None
    lock = FileLock.try_acquire(_lock_path(home), create=False)
    if lock is not None:
        lock.release()
        return None
    url = _read_note(home).get("url")
    return url if isinstance(url, str) else None


def _read_note(home: Path) -> dict[str, object]:
    try:
        note = json.loads(_note_path(home).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _lock_path(home: Path) -> Path:
    return home / "locks" / "server.lock"


def _note_path(home: Path) -> Path:
    return home / "server.json"
