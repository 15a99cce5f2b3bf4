"""How workers run: the part that is the operator's, not the job's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """Everything that a worker is told besides the job."""

    organization: str = "local"
    """The slug inside tuned models' names."""

    num_threads: int = 1
    """Threads of the arithmetic; part of what makes two runs equal, so a job keeps its first number."""

    save_every_seconds: float = 60.0
    """A crash costs about this much work; longer where saving itself takes more than a twentieth of it."""

    idle_seconds: float = 60.0
    """A worker without a job waits this long for one."""

    num_spare: int = 0
    """Workers of each phase that wait for a job, loaded: about 450 MB, for a start some seconds sooner."""

    max_training: int = 1
    """Jobs that may train at the same time."""


def physical_cores(topology: Path = Path("/sys/devices/system/cpu")) -> int:
    """Cores that this process may use; two threads of one core count once, for they share its arithmetic."""
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = set()
    for number in usable:
        try:
            text = (topology / f"cpu{number}" / "topology" / "thread_siblings_list").read_text(
                encoding="ascii"
            )
        except OSError:
            text = str(number)
        siblings.add(text)
    return max(1, len(siblings))
