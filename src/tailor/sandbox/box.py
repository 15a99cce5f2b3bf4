"""Outside: starts the walled-in interpreter, hands it items one by one, and believes nothing it says."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Final, Literal

from tailor.errors import InvalidRequest
from tailor.sandbox import _kernel
from tailor.sandbox._frames import read_frame, write_frame
from tailor.sandbox._plan import LIBRARIES, Plan, Walls, make_plan
from tailor.sandbox._syscalls import this_machine
from tailor.sandbox.limits import Limits

_GRACE_SECONDS: Final = 10.0
_START_SECONDS: Final = 60.0
_ENDING_SECONDS: Final = 2.0
_MIN_LANDLOCK: Final = 3
"""Before it, a file outside could be cut to nothing."""

_ENVIRONMENT: Final = {
    "HOME": "/tmp",  # noqa: S108  the private one
    "TMPDIR": "/tmp",  # noqa: S108
    "LANG": "C.UTF-8",
    "TZ": "UTC",
    "PYTHONHASHSEED": "0",  # sets iterate alike every time: a score must not depend on the run
    "PYTHONDONTWRITEBYTECODE": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # each further arena takes 64 MiB of the address space
}
_START: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from tailor.sandbox._inside import main; del sys.path[0]; "
    "main()"
)


class SandboxMissing(InvalidRequest):
    """This machine cannot shut foreign code in; it is not run then."""

    default_code = "python_graders_unavailable"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of one item."""

    score: float | None
    """What `grade` returned; None when it did not."""

    fault: Literal["grader", "sandbox"] | None = None
    """Whose fault it is that there is no score: the grader's own, or ours."""

    details: str | None = None
    """A sentence about the fault. Text of the grader's making may be in it."""

    seconds: float = 0.0
    """How long the item took."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sandbox:
    """A way of shutting in that has been tried on this machine; `find_sandbox` makes it."""

    walls: Walls
    """`namespaces`: nothing else exists there. `landlock`: it exists, but nothing can be opened."""

    limits: Limits = field(default_factory=Limits)
    """For each item."""

    def run(self, source: str, cases: Iterable[tuple[Any, Any]]) -> Iterator[Outcome]:
        """Call `grade(sample, item)` of the source for each (sample, item); one outcome each, in order.

        Both are JSON values. One process is started for all; each item runs in a fork of it. Close the
        iterator to stop early: whatever runs is killed.
        """
        if (long := _too_long(source, self.limits)) is not None:
            yield from (long for _ in cases)
            return
        session: _Session | None = None
        try:
            for sample, item in cases:
                session = session or _Session(make_plan(self.walls, source, self.limits))
                outcome = session.ask({"sample": sample, "item": item})
                yield outcome
                if outcome.fault == "sandbox":
                    session.end()
                    session = None
        finally:
            if session is not None:
                session.end()

    def check(self, source: str) -> str | None:
        """What is wrong with a source before it sees an item: how it fails to load, or lacks `grade`.

        Raises:
            SandboxMissing: the walls could not be built now.
        """
        if (long := _too_long(source, self.limits)) is not None:
            return long.details
        session = _Session(make_plan(self.walls, source, self.limits))
        try:
            answer = session.start()
        finally:
            session.end()
        if "problem" not in answer:
            raise SandboxMissing(f"The sandbox did not start: {answer['refused']}.")
        return _read(answer["problem"], self.limits, key=None).details


def find_sandbox(
    limits: Limits | None = None, *, ways: Iterable[Walls] = ("namespaces", "landlock")
) -> Sandbox:
    """The strongest way of shutting in that works here, shown by trying to break out of it.

    Raises:
        SandboxMissing: none does; says what is missing and what to do.
    """
    reasons = []
    for walls in ways:
        reason = _unfit(walls)
        if reason is None:
            return Sandbox(walls=walls, limits=limits or Limits())
        reasons.append(f"{walls}: {reason}")
    raise SandboxMissing(
        f"Python graders run only in a sandbox, and this machine offers none ({'; '.join(reasons)}).",
        remedy="Run the server on Linux 5.13 or later with unprivileged user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0), or on "
        "Linux 6.2 or later with Landlock switched on (lsm=landlock,...; any container runtime of today "
        "allows it). The other graders work without.",
    )


def installed_libraries() -> tuple[str, ...]:
    """Names of the allowed packages that graders can import here, beside the standard library."""
    site = make_plan("landlock", "", Limits()).site
    names = (entry.split(".")[0] for entry in os.listdir(site) if "-" not in entry)
    return tuple(sorted({name for name in names if name in LIBRARIES}))


def _unfit(walls: Walls) -> str | None:
    """Why a way of shutting in is not to be trusted here; None if it holds."""
    if sys.platform != "linux":
        return f"needs Linux, this is {sys.platform}"
    if this_machine() is None:
        return "no list of system calls for this processor"
    version = _kernel.landlock_version()
    if walls == "landlock" and version < _MIN_LANDLOCK:
        return f"Landlock {version or 'is absent'}, {_MIN_LANDLOCK} is needed"
    probe = Path(__file__).with_name("_probe.py").read_text()
    limits = Limits(seconds=10, memory_bytes=512 * 2**20)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "canary")
        file.write_text("alive")
        case: tuple[Any, Any] = ({}, {"file": str(file), "process": os.getpid()})
        outcome = next(Sandbox(walls=walls, limits=limits).run(probe, [case]))
        if outcome.score != 1:
            return outcome.details
        if [path.name for path in Path(folder).iterdir()] != ["canary"] or file.read_text() != "alive":
            return "a file outside was changed"
    return None


class _Session:
    """One walled-in interpreter at work."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ready: dict[str, Any] | None = None
        self._process = subprocess.Popen(  # noqa: S603  our own interpreter with our own words
            [sys.executable, "-S", "-s", "-P", "-c", _START, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            bufsize=0,
        )

    def start(self) -> dict[str, Any]:
        """What the inside said when it was ready, or why it is not; only the first call waits."""
        if self._ready is None:
            ready = self._exchange(asdict(self._plan), _START_SECONDS + 2 * self._plan.limits.seconds)
            self._ready = ready or {"refused": "it ended at once"}
        return self._ready

    def ask(self, case: dict[str, Any]) -> Outcome:
        """Have one item graded."""
        ready = self.start()
        if "problem" not in ready:
            return _broken(str(ready.get("refused")))
        limits = self._plan.limits
        answer = self._exchange(case, limits.seconds + _GRACE_SECONDS)
        return _broken("it ended") if answer is None else _read(answer, limits, key="score")

    def end(self) -> None:
        """Let it end, as it does when nobody is left to talk to; kill whatever has not, as one group."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(timeout=_ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _exchange(self, message: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Send and receive; None if the inside is gone, or silent for too long."""
        writing, reading = self._process.stdin, self._process.stdout
        if writing is None or reading is None:
            return None
        deadline = time.monotonic() + seconds
        try:
            write_frame(writing.fileno(), message)
            poll = select.poll()
            poll.register(reading.fileno(), select.POLLIN)
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return None
            frame = read_frame(reading.fileno())
        except BrokenPipeError:
            return None
        answer = None if frame is None else json.loads(frame)
        return answer if isinstance(answer, dict) else None


def _read(answer: dict[str, Any], limits: Limits, *, key: str | None) -> Outcome:
    """The outcome in what the inside reports about one process; `key` is what a good answer holds."""
    seconds = float(answer["seconds"])
    if answer["text"] is None:
        return Outcome(score=None, fault="grader", details=_ended(answer["ended"], limits), seconds=seconds)
    try:
        said = json.loads(answer["text"])
        if isinstance(said, dict) and isinstance(said.get("error"), str):
            return Outcome(score=None, fault="grader", details=said["error"], seconds=seconds)
        if key is None and said == {}:
            return Outcome(score=None, seconds=seconds)
        score = said[key]
        if type(score) in (int, float) and isfinite(score):
            return Outcome(score=float(score), seconds=seconds)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        pass
    return Outcome(score=None, fault="grader", details="the grader's answer is no answer", seconds=seconds)


def _ended(how: str, limits: Limits) -> str:
    """How a process ended that gave no answer, in words."""
    if how == "late":
        return f"the grader took longer than {limits.seconds:g} s"
    if how == "long":
        return f"the grader wrote more than {limits.answer_bytes:,} bytes"
    if how in (f"signal {int(signal.SIGXCPU)}", f"signal {int(signal.SIGKILL)}"):
        return (
            f"the grader was killed: it used more than {limits.seconds:g} s of processor time, or all memory"
        )
    return f"the grader's process ended without an answer ({how})"


def _broken(reason: str) -> Outcome:
    return Outcome(score=None, fault="sandbox", details=f"the sandbox did not work: {reason}")


def _too_long(source: str, limits: Limits) -> Outcome | None:
    size = len(source.encode("utf-8", "replace"))
    if size <= limits.source_bytes:
        return None
    details = f"the source has {size:,} bytes; {limits.source_bytes:,} are allowed"
    return Outcome(score=None, fault="grader", details=details)
