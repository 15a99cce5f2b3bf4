"""Memory of a worker: what it may use, what it will, and what it has used."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tailor.jobs.attempt import Attempt, Refused

if TYPE_CHECKING:
    from tailor.models import BaseFacts
    from tailor.training import Recipe
    from tailor.training.planning import MemoryEstimate

_SHARE = 0.9
"""Of what is free: the rest of the machine goes on living."""

_HOPELESS = 1.25
"""An estimate may be wrong by a tenth; this far above what is free no job is tried."""

_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int | None:
    """What a worker that starts now may use; None where the system does not say."""
    free = _available(meminfo)
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is not None and used is not None:
        free = limit - used if free is None else min(free, limit - used)
    return None if free is None else max(0, round(_SHARE * free))


def room_for_training() -> tuple[int | None, bool]:
    """Memory that training may use now, and whether it is a card's; None where the system does not say."""
    from tailor.models import free_device_bytes

    free = free_device_bytes()
    return (free_bytes(), False) if free is None else (round(_SHARE * free), True)


def peak_bytes() -> int:
    """The most memory this process has had so far: of the card that it trains on, else of the machine."""
    from tailor.models import peak_device_bytes

    on_card = peak_device_bytes()
    if on_card is not None:
        return on_card
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else 1024 * used


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text(encoding="ascii").split("\n")
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # "max": no limit
        return None


def fitted(
    attempt: Attempt,
    base: BaseFacts,
    recipe: Recipe,
    items: Sequence[Any],
    *,
    may_change: bool,
    teacher: BaseFacts | None = None,
) -> tuple[Recipe, MemoryEstimate | None]:
    """The recipe, changed so that it fits where that changes no result, and the memory it will take.

    One that steps were made with must not change: saves only go on under the same recipe, and a job that
    has come so far is not refused because others take memory just now.

    Raises:
        Refused: it is far from fitting.
    """
    if recipe.exploration is not None:
        return recipe, None  # the model will write what it learns from, and nobody knows how long it is
    from tailor.training.fitting import fit

    free_now, on_card = room_for_training()
    room = free_now if may_change else None
    workers = attempt.settings.num_threads
    found = fit(base, recipe, items, room_bytes=room, num_workers=workers, on_card=on_card, teacher=teacher)
    total = found.memory.total_bytes
    if room is not None and total > _HOPELESS * room:
        rounded = found.offer[0].quantization if found.offer else None
        raise Refused(
            f"Training would take about {total / 1e9:.1f} GB of memory, and {room / 1e9:.1f} GB are free.",
            code="out_of_memory",
            param="tailor",
            remedy=f'Ask for "quantization": "{rounded}", or use a smaller base.'
            if rounded
            else "Use a smaller base, or a smaller max_context_tokens.",
        )
    where = "Memory of the card" if on_card else "Memory"
    free = "" if room is None else f" of {room / 1e9:.1f} GB that are free"
    attempt.lease.add_event(
        " ".join([f"{where}: about {total / 1e9:.1f} GB at the peak{free}.", *found.changes]),
        level="info" if found.fits else "warn",
        data={"estimated_bytes": total, "room_bytes": room, "changes": list(found.changes)},
        once_key="memory",
    )
    return found.recipe, found.memory


def compare(attempt: Attempt, memory: MemoryEstimate) -> None:
    """Say once, after the first steps, how much memory there was in truth."""
    used, foretold = peak_bytes(), memory.total_bytes
    attempt.lease.add_event(
        f"Memory: {used / 1e9:.1f} GB so far, {foretold / 1e9:.1f} GB were foretold.",
        level="warn" if used > _HOPELESS * foretold else "info",
        data={"peak_bytes": used, "estimated_bytes": foretold},
        once_key="memory_used",
    )
