"""Inside: process 1 behind the walls. It never runs foreign code itself: each item has a process of its own.

Started as a script's `main` by `Sandbox`, with messages on standard input and output. Each process for an
item is forked from here, shut in, and gone afterwards: items cannot see or change each other, so a score
depends on its own item alone, in whatever company it is graded.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
import secrets
import select
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

from tailor.sandbox._frames import read_frame, write_frame
from tailor.sandbox._grader import check_source, grade_item, imports_of
from tailor.sandbox._plan import Plan, is_library
from tailor.sandbox._walls import build_root, confine, empty_tmp, in_new_namespaces

_MODULE = re.compile(r"[A-Za-z_]\w*(\.\w+){0,8}", re.ASCII)


def main() -> NoReturn:
    """Build the walls, say so, and work until there is nothing more to read."""
    first = read_frame(0)
    if first is None:
        os._exit(1)
    plan = Plan.parse(json.loads(first))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as score:
        score.write("1000")  # where memory ends for all, this process goes first
    try:
        if plan.walls == "namespaces":
            in_new_namespaces(partial(_work, plan))
        _work(plan)
    except OSError as error:
        write_frame(1, {"refused": str(error)})
        os._exit(1)


def _work(plan: Plan) -> NoReturn:
    try:
        if plan.walls == "namespaces":
            build_root(plan)
        sys.path[:] = [path for path in sys.path if os.path.isdir(path)]
        sys.path.append(plan.site)
        problem = _get_ready(plan)
        gc.freeze()
        write_frame(1, {"ready": True, "problem": problem})
        while (request := read_frame(0)) is not None:
            write_frame(1, _run(plan, partial(grade_item, plan.source, request)))
    except OSError as error:
        with contextlib.suppress(OSError):
            write_frame(1, {"refused": str(error)})
    os._exit(0)


def _get_ready(plan: Plan) -> dict[str, Any]:
    """Import the libraries that the source names, once for all items; how the source itself loads."""
    asked = _run(plan, partial(imports_of, plan.source))
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        for name in json.loads(asked["text"] or "{}").get("imports", []):
            if _MODULE.fullmatch(name) and is_library(name.split(".")[0]):
                with contextlib.suppress(Exception):
                    importlib.import_module(name)
    return _run(plan, partial(check_source, plan.source))


def _run(plan: Plan, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What a process of its own, shut in, wrote about `work`: `text`, or None and how it `ended`."""
    began = time.monotonic()
    ours, theirs = os.pipe()
    token = secrets.token_bytes(16)
    child = os.fork()
    if child == 0:
        _behave(plan, work, theirs, token)
    os.close(theirs)
    handle = os.pidfd_open(child)
    try:
        written, ended = _watch(plan, ours, handle, child, began + plan.limits.seconds)
    finally:
        os.close(ours)
        os.close(handle)
    if plan.walls == "namespaces":
        empty_tmp(plan)
    text = None
    if ended == "exit 0" and written.startswith(token):
        text = written.removeprefix(token).decode("utf-8", "replace")
    return {"text": text, "ended": ended, "seconds": round(time.monotonic() - began, 6)}


def _behave(plan: Plan, work: Callable[[], dict[str, Any]], pipe: int, token: bytes) -> NoReturn:
    """The process of one item, from its first to its last moment."""
    code = 3
    try:
        nothing = os.open("/dev/null", os.O_RDWR)
        answer = os.dup2(pipe, 9)
        for standard in (0, 1, 2):
            os.dup2(nothing, standard)
        os.closerange(3, 9)
        os.closerange(10, os.sysconf("SC_OPEN_MAX"))
        confine(plan)
        left = memoryview(token + json.dumps(work()).encode())
        while left:
            left = left[os.write(answer, left) :]
        code = 0
    finally:
        os._exit(code)


def _watch(plan: Plan, pipe: int, handle: int, child: int, deadline: float) -> tuple[bytes, str]:
    """Read what the process writes until it ends, is late or says too much, or nobody wants to know."""
    written, why = bytearray(), ""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    poll.register(handle, select.POLLIN)
    poll.register(0, 0)  # hanging up is always told
    while not why:
        left = deadline - time.monotonic()
        ready = dict(poll.poll(max(0, left) * 1000))
        if not ready:
            why = "late"
        elif 0 in ready and ready[0] & (select.POLLHUP | select.POLLERR):
            why = "unwanted"
        elif pipe in ready:
            part = os.read(pipe, 65536)
            written += part
            if not part:
                poll.unregister(pipe)
            if len(written) > plan.limits.answer_bytes:
                why = "long"
        elif handle in ready:
            break
    if why:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return bytes(written), why or (f"exit {status}" if status >= 0 else f"signal {-status}")
