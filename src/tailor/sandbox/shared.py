"""One sandbox for a whole server: found when first needed, a few runs at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tailor.sandbox.box import Outcome, Sandbox, find_sandbox


class SharedSandbox:
    """A `Sandbox` that many threads use; more than `max_runs` at once wait for each other."""

    def __init__(self, *, max_runs: int = 2, find: Callable[[], Sandbox] = find_sandbox) -> None:
        """Looks for nothing yet: a server without python graders never tries the machine."""
        self._find = find
        self._finding = threading.Lock()
        self._found: Sandbox | None = None
        self._turns = threading.Semaphore(max_runs)

    def get(self) -> Sandbox:
        """The sandbox; raises SandboxMissing, and looks again next time."""
        with self._finding:
            if self._found is None:
                self._found = self._find()
            return self._found

    def run(self, source: str, cases: Iterable[tuple[Any, Any]]) -> Iterator[Outcome]:
        """As `Sandbox.run`."""
        sandbox = self.get()
        with self._turns:
            yield from sandbox.run(source, cases)

    def check(self, source: str) -> str | None:
        """As `Sandbox.check`."""
        sandbox = self.get()
        with self._turns:
            return sandbox.check(source)
