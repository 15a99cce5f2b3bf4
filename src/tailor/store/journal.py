"""What the holder of a job writes while it works: signs of life, the log, the figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from tailor.store.fence import Fence
from tailor.store.records import EventType, JobPhase, JsonObject, Level

Wanted = Literal["run", "pause", "stop"]


class Journal:
    """The log of a claimed job. Every writing method raises LeaseLost once the job is no longer ours."""

    def __init__(self, fence: Fence) -> None:
        self._fence = fence

    def wanted(self) -> Wanted:
        """What to do next: go on, save and pause, or stop at once because the job is no longer ours."""
        found: Wanted | None = self._fence.read("wanted")
        return found or "stop"

    def heartbeat(
        self,
        *,
        step: int | None = None,
        total_steps: int | None = None,
        phase: JobPhase | None = None,
        estimated_finish: int | None = None,
    ) -> Wanted:
        """Say that the work goes on, and how far it is; what to do next (`run` or `pause`).

        Call it from the work itself, about every 5 s, never from a side thread: a hung worker must fall
        silent. What is None stays as it was; `estimated_finish` is unix seconds.
        """
        given = {
            "step": step,
            "total_steps": total_steps,
            "phase": phase,
            "estimated_finish": estimated_finish,
        }
        values = {name: value for name, value in given.items() if value is not None}
        with self._fence.writing(**values) as connection:
            found: Wanted = self._fence.read("wanted", connection)
            return found

    def add_event(
        self,
        message: str,
        *,
        level: Level = "info",
        data: JsonObject | None = None,
        type: EventType = "message",
        once_key: str | None = None,
    ) -> bool:
        """Append to the job's log. With `once_key` a second call writes nothing and returns False."""
        with self._fence.writing() as connection:
            return self._fence.write_event(
                connection, message, level=level, data=data, type=type, once_key=once_key
            )

    def add_metrics(self, *, step: int, data: JsonObject, message: str) -> bool:
        """Log a step's figures and move the job's step; a step done again logs nothing and returns False."""
        return self.add_all_metrics([(step, data, message)]) == 1

    def add_all_metrics(self, rows: Sequence[tuple[int, JsonObject, str]]) -> int:
        """The same for several steps at once, in one transaction; how many of them were new."""
        with self._fence.writing(step=rows[-1][0]) as connection:
            return sum(
                self._fence.write_event(
                    connection, message, type="metrics", data=data, once_key=f"metrics:{step}"
                )
                for step, data, message in rows
            )

    def resolve(
        self,
        hyperparameters: JsonObject,
        *,
        method: JsonObject | None = None,
        total_steps: int | None = None,
    ) -> None:
        """Replace `"auto"` by what it came to."""
        values: dict[str, Any] = {"hyperparameters": hyperparameters}
        if method is not None:
            values["method"] = method
        if total_steps is not None:
            values["total_steps"] = total_steps
        with self._fence.writing(**values):
            pass

    def use_microbatch(self, max_tokens: int) -> None:
        """Record how many tokens are computed at a time: after running out of memory, fewer are."""
        with self._fence.writing(max_microbatch_tokens=max_tokens):
            pass
