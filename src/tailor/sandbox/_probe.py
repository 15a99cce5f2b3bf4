"""A hostile grader, harmless to run: tries what must not work, and fails naming what did.

Read as text and run behind the walls before any real grader. `item` says where to look outside.
"""

import os
import socket
from collections.abc import Callable
from typing import Any


def grade(sample: Any, item: Any) -> int:
    """1 if everything failed that must."""
    holes = []

    def must_fail(name: str, attempt: Callable[[], object]) -> None:
        try:
            attempt()
        except (OSError, ValueError, ImportError):
            return
        holes.append(name)

    def fork() -> None:
        if os.fork() == 0:
            os._exit(0)

    must_fail("read a file outside", lambda: open(item["file"]).close())
    must_fail("write a file outside", lambda: open(item["file"], "w").close())
    must_fail("make a file outside", lambda: open(item["file"] + ".made", "w").close())
    must_fail("list a folder outside", lambda: os.listdir(os.path.dirname(item["file"])))
    must_fail("delete a file outside", lambda: os.unlink(item["file"]))
    must_fail("change rights outside", lambda: os.chmod(item["file"], 0o777))  # noqa: S103
    must_fail("look at processes", lambda: os.listdir("/proc/self"))
    must_fail("reach a process outside", lambda: os.kill(item["process"], 0))
    must_fail("open a socket", lambda: socket.socket(socket.AF_INET).close())
    must_fail("open a local socket", lambda: socket.socket(socket.AF_UNIX).close())
    must_fail("start a process", fork)
    must_fail("run a program", lambda: os.execv("/bin/true", ["true"]))  # noqa: S606
    must_fail("write to the interpreter", lambda: open(os.__file__, "a").close())
    must_fail("gain rights", lambda: os.setuid(0))
    if holes:
        raise RuntimeError("could " + ", ".join(holes))
    return 1
