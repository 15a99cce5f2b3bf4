"""A job as it goes: one live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tailor.cli.figures import count, duration, printable, sparkline

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from tailor.cli.view import View
    from tailor.client import Update
    from tailor.protocol import EventObject, JobObject

_SECONDS_BETWEEN_LINES = 3.0
_PHASES = {
    "validating": "checking the data",
    "preparing": "loading the model",
    "training": "training",
    "evaluating": "comparing with the base",
    "publishing": "publishing",
}


@dataclass(slots=True)
class Course:
    """What is known of a running job: the last state and the figures so far."""

    job: JobObject | None = None
    losses: list[float] = field(default_factory=list)
    """Training loss of every step seen, in order."""
    valid_loss: float | None = None
    """The newest, of the whole validation set where there is one."""
    started: float | None = None
    """When this display first saw the job training, on the monotonic clock."""
    first_step: int = 0
    """The step it was at then: a job that goes on from a checkpoint does not start at 0."""

    def take(self, update: Update, *, now: float) -> None:
        """Note what an update brings."""
        self.job = update.job
        if self.started is None and self._is_training:
            self.started, self.first_step = now, self.step
        for event in update.events:
            if event.type == "metrics":
                self._take_metrics(event)

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return int(self.job.tailor.get("step") or 0) if self.job else 0

    @property
    def total_steps(self) -> int | None:
        """Optimiser steps in all; None until the server knows."""
        return self.job.tailor.get("total_steps") if self.job else None

    def phase(self) -> str:
        """What the job is doing, in words."""
        if self.job is None:
            return "starting"
        if self.job.status == "queued":
            ahead = self.job.tailor.get("queue_position") or 0
            return f"waiting, {count(ahead, 'job')} ahead" if ahead else "next in the queue"
        if self.job.status == "validating_files":
            return _PHASES["validating"]
        if self.job.status == "running":
            return _PHASES.get(str(self.job.tailor.get("phase")), "running")
        return self.job.status

    def seconds_left(self, *, now: float) -> float | None:
        """Until the last step, at the pace seen so far; None while there is no pace."""
        done = self.step - self.first_step
        if not self._is_training or not self.total_steps or self.started is None or done < 2:
            return None
        return (now - self.started) / done * (self.total_steps - self.step)

    def figures(self, *, now: float) -> str:
        """Loss, validation loss and time left, as far as they are known."""
        parts = []
        if self.losses:
            parts.append(f"loss {self.losses[-1]:.3f}")
        if self.valid_loss is not None:
            parts.append(f"validation loss {self.valid_loss:.3f}")
        left = self.seconds_left(now=now)
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    @property
    def _is_training(self) -> bool:
        return self.job is not None and self.job.tailor.get("phase") == "training"

    def _take_metrics(self, event: EventObject) -> None:
        if event.data.get("train_loss") is not None:
            self.losses.append(float(event.data["train_loss"]))
        for name in ("valid_loss", "full_valid_loss"):
            if event.data.get(name) is not None:
                self.valid_loss = float(event.data[name])


def watch(view: View, updates: Iterable[Update]) -> JobObject:
    """Show a job until its updates end; the last state is returned."""
    show = _watch_live if view.people.is_terminal else _watch_in_lines
    job = show(view.people, updates)
    if job is None:
        raise RuntimeError("a job gave no update at all")
    return job


def _watch_live(console: Console, updates: Iterable[Update]) -> JobObject | None:
    from rich.live import Live

    course = Course()
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        live.update(_display(course, now=time.monotonic()))
        for update in updates:
            course.take(update, now=time.monotonic())
            for event in update.events:
                if event.type == "message":
                    _print_event(console, event)
            live.update(_display(course, now=time.monotonic()))
    _print_course(console, course)
    return course.job


def _watch_in_lines(console: Console, updates: Iterable[Update]) -> JobObject | None:
    course, said, said_at = Course(), ("", 0), float("-inf")
    for update in updates:
        now = time.monotonic()
        course.take(update, now=now)
        for event in update.events:
            if event.type == "message":
                _print_event(console, event)
        state = (course.phase(), course.step)
        is_due = now - said_at >= _SECONDS_BETWEEN_LINES
        if state != said and is_due and update.job.status in ("queued", "running"):
            console.print(_line(course, now=now), markup=False, soft_wrap=True)
            said, said_at = state, now
    _print_course(console, course)
    return course.job


def _line(course: Course, *, now: float) -> str:
    steps = f"step {course.step}/{course.total_steps}" if course.total_steps else ""
    return "  " + ", ".join(part for part in (course.phase(), steps, course.figures(now=now)) if part)


def _display(course: Course, *, now: float) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.spinner import Spinner
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1))
    steps = f"{course.step}/{course.total_steps}" if course.total_steps else ""
    grid.add_row(
        Spinner("dots", style="cyan"),
        Text(course.phase(), style="bold"),
        ProgressBar(total=course.total_steps, completed=course.step, width=32, pulse=not course.total_steps),
        Text(steps, style="cyan"),
    )
    figures = Text(course.figures(now=now))
    shape = Text(sparkline(course.losses), style="magenta")
    outer = Table.grid()
    outer.add_row(grid)
    row = Table.grid(padding=(0, 1))
    row.add_row(Text(" "), shape, figures)
    outer.add_row(row)
    return outer


def _print_course(console: Console, course: Course) -> None:
    if len(course.losses) > 1:
        shape = sparkline(course.losses)
        summary = f"  loss {course.losses[0]:.3f} {shape} {course.losses[-1]:.3f}"
        console.print(summary, style="magenta", markup=False, soft_wrap=True)


def _print_event(console: Console, event: EventObject) -> None:
    style = {"info": "", "warn": "yellow", "error": "bold red"}[event.level]
    # The first line says what it is; `tailor jobs events` has the rest.
    line = printable(event.message).split("\n")[0]
    console.print(f"  {line}", style=style, markup=False, soft_wrap=True)
