"""Running out of memory: how it shows in a worker, and from outside once the kernel has killed one."""

from __future__ import annotations

import signal
from pathlib import Path

from tailor.store import Ending

_OUT_OF_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was the problem; torch, which this module does not import, says it in several ways."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY))
    )


def num_oom_kills(statistics: Path = Path("/proc/vmstat")) -> int:
    """How many processes this kernel has killed for want of memory since it started; 0 if it does not say."""
    try:
        lines = statistics.read_text(encoding="ascii").split("\n")
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def ending_of(status: int, *, oom_kills: int) -> Ending:
    """How a worker died, by its exit status and how many were killed for want of memory in its life."""
    if status != -signal.SIGKILL:
        return "crashed"
    return "out_of_memory" if oom_kills else "killed"
