"""A study before one's eyes: what it can see, how long it takes, how far it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailor.advise.advice import Advice
    from tailor.advise.arms import ArmResult, Skipped
    from tailor.advise.forecast import Curve
    from tailor.advise.pricing import Rates
    from tailor.advise.run import Step
    from tailor.advise.study import Study
    from tailor.advise.verdict import Circumstances
    from tailor.cli.view import View


def carry_out(view: View, study: Study, circumstances: Circumstances, rates: Rates) -> Advice:
    """Say what can be seen and how long it takes, measure, and judge."""
    from tailor.advise.advice import judge
    from tailor.advise.arms import Progress, Skipped
    from tailor.advise.run import run
    from tailor.advise.study import expected_seconds, plan

    course = Course(expected={arm.name: expected_seconds(study, arm) for arm in plan(study)})
    _introduce(view, study, course)
    results: list[ArmResult] = []
    skipped: list[Skipped] = []
    with _display(course):
        for step in run(study):
            course.take(step)
            _note(view, step)
            if isinstance(step, Skipped):
                skipped.append(step)
            elif not isinstance(step, Progress):
                results.append(step)
    return judge(study, results, skipped, _curves(study, results), circumstances, rates)


@dataclass(slots=True)
class Course:
    """How far a study is."""

    expected: dict[str, float]
    """Seconds that each arm was guessed to take."""

    done: dict[str, float] = field(default_factory=dict)
    """Share of each arm that is done."""

    now: str = ""
    """What is being done."""

    started: float = field(default_factory=time.monotonic)

    def take(self, step: Step) -> None:
        """Note a step."""
        from tailor.advise.arms import Progress

        if isinstance(step, Progress):
            self.done[step.arm.name], self.now = step.done, f"{step.arm.name}: {step.what}"
        else:
            self.done[step.arm.name], self.now = 1.0, step.arm.name

    @property
    def seconds_done(self) -> float:
        """Of what was expected."""
        return sum(self.expected[name] * share for name, share in self.done.items())

    @property
    def seconds_left(self) -> float:
        """At the pace so far."""
        left = sum(self.expected.values()) - self.seconds_done
        pace = (time.monotonic() - self.started) / self.seconds_done if self.seconds_done > 2 else 1.0
        return left * pace


def _introduce(view: View, study: Study, course: Course) -> None:
    from tailor.advise.wording import before_the_run
    from tailor.cli.figures import count, duration

    material, parts = study.material, study.parts
    refused = f", {count(material.num_refused, 'line')} refused" if material.num_refused else ""
    copies = f", {material.num_copies:,} exact copies set aside" if material.num_copies else ""
    examples = count(len(material.items), "example")
    view.say(f"{material.name}: {examples}{refused}{copies}; {material.measure}.")
    view.say(
        f"{len(parts.train):,} to learn from, {len(parts.development):,} to choose by, "
        f"{len(parts.held_out):,} to judge by. Right is {material.measure.sentence}."
    )
    view.say(before_the_run(study))
    view.say(
        f"{count(len(course.expected), 'arm')}, about {duration(sum(course.expected.values()))} on one free "
        "core; what is finished is kept, Ctrl-C loses one arm at most."
    )


def _note(view: View, step: Step) -> None:
    """Off a terminal, a line for each arm."""
    from tailor.advise.arms import Progress, Skipped
    from tailor.cli.view import notes

    if isinstance(step, Progress) or notes().is_terminal:
        return
    what = f"not run: {step.reason}" if isinstance(step, Skipped) else f"{step.quality:.1%}"
    view.note(f"{step.arm.name}: {what}")


@contextmanager
def _display(course: Course) -> Iterator[None]:
    """One live line, on a terminal."""
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from tailor.cli.figures import duration, printable
    from tailor.cli.view import notes

    console = notes()

    class Line:
        def __rich__(self) -> Table:
            table = Table.grid(padding=(0, 2))
            bar = ProgressBar(total=sum(course.expected.values()), completed=course.seconds_done, width=30)
            table.add_row(printable(course.now), bar, f"about {duration(course.seconds_left)} left")
            return table

    if console.is_terminal:
        with Live(Line(), console=console, transient=True, refresh_per_second=4):
            yield
    else:
        yield


def _curves(study: Study, results: list[ArmResult]) -> list[Curve]:
    """Of the tuned arms and of the classical one; quickly only of the latter."""
    from tailor.advise.forecast import classical_curve, tuned_curve

    tuned = None if study.quick else tuned_curve(results)
    found = (tuned, classical_curve(study.material, study.parts))
    return [curve for curve in found if curve is not None]
