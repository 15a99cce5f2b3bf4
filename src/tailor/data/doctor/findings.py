"""What the doctor says: findings, figures for plots, and the diagnosis that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tailor.data.doctor.task import Task
from tailor.data.problems import DataReport, Problem, Severity

MOST_DETAILED: Final = 20
"""Problems of one finding that are told one by one."""

MOST_LINES: Final = 1_000
"""Lines of one finding that go into JSON; `num_lines` counts all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One kind of thing that is wrong with a file, with every line it concerns."""

    code: str
    """For programs; stable."""

    title: str
    """For people, in three words or so."""

    severity: Severity = "advice"
    """Blocking: nothing can be trained until it is mended. Advice: worth a look."""

    lines: tuple[int, ...] = ()
    """All lines it concerns, ascending; empty where it is about the file as a whole."""

    file: str | None = None
    """The file of the lines; None for the file that is diagnosed."""

    message: str
    """What was found, as a sentence with its numbers."""

    why: str
    """What it would do to the model."""

    remedy: str
    """What to do about it."""

    problems: tuple[Problem, ...] = ()
    """The first in detail: the most telling ones where they can be ranked, else in line order."""

    num_problems: int
    """All of them, told or not."""

    weight: float = 1.0
    """How much it matters beside the others: the share of examples that are hit, times how bad it is."""

    @property
    def fix(self) -> str | None:
        """The choice of `tailor data fix` that mends it; None where only people can."""
        if self.severity == "blocking":
            return "--drop-invalid" if self.lines else None
        return _FIXES.get(self.code)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        shown = {"lines": list(self.lines[:MOST_LINES]), "num_lines": len(self.lines), "fix": self.fix}
        return asdict(self) | shown


_FIXES: Final = {
    "duplicate": "--drop-duplicates",
    "near_duplicate": "--near-duplicates keep-one",
    "contradiction": "--contradictions keep-majority",
    "mixed_spelling": "--normalise",
    "white_space": "--normalise",
    "format_prefix": "--normalise",
    "format_fence": "--normalise",
    "format_quotes": "--normalise",
    "personal_data": "--redact all",
    "personal_places": "--redact address",
    "personal_names": "--redact name",
    "secret": "--redact secret",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """Numbers for a plot or a table."""

    name: str
    """What they are: lengths, classes, languages, copies, map, ..."""

    data: dict[str, Any]
    """Plain values, ready for JSON."""


Evidence = Finding | Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Tokens:
    """How long the examples are for the model."""

    counted_with: str
    """The tokenizer's name, or how the counts are estimated."""

    context: int | None
    """Tokens that an example may have; None where no model is in view."""

    total: int
    """Of all examples, once."""

    learnt: int
    """Of these, tokens of the answers: the ones with loss."""

    median: int
    """Of an example."""

    longest: int
    """Of an example."""

    epochs: int
    """Passes over the file that a job makes."""

    @property
    def trained(self) -> int:
        """What a job would be charged for: all tokens, every epoch."""
        return self.total * self.epochs


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """An example that is spoken of, shortened."""

    where: str | None
    """File and line, where several files were read as one."""

    asked: str
    """What is asked."""

    answer: str
    """What is answered."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """Everything the doctor says about one file."""

    file: str
    """Its name, for people."""

    task: Task
    """What the file teaches."""

    report: DataReport
    """What a job would say: all problems, blocking ones first."""

    findings: tuple[Finding, ...]
    """Blocking ones first, then by weight."""

    figures: tuple[Figure, ...]
    """For plots."""

    tokens: Tokens | None
    """None where there is no example."""

    validation: str | None = None
    """The validation file it was held against."""

    unchecked: tuple[str, ...] = ()
    """Checks that did not run or only saw a part, each as a sentence."""

    samples: dict[int, Sample] = field(default_factory=dict)
    """By line, the examples that findings tell of in detail."""

    @property
    def ok(self) -> bool:
        """Whether the file can be trained on as it is."""
        return self.report.ok

    def figure(self, name: str) -> dict[str, Any] | None:
        """The numbers of one figure, or None where they were not taken."""
        return next((figure.data for figure in self.figures if figure.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        tokens = None if self.tokens is None else asdict(self.tokens) | {"trained": self.tokens.trained}
        return {
            **self.report.to_dict(),
            "summary": self.report.summary(),
            "task": asdict(self.task),
            "tokens": tokens,
            "validation": self.validation,
            "findings": [finding.to_dict() for finding in self.findings],
            "figures": {figure.name: figure.data for figure in self.figures},
            "unchecked": list(self.unchecked),
            "places": {str(line): sample.where for line, sample in self.samples.items() if sample.where},
        }


def finding(
    problems: Sequence[Problem],
    *,
    title: str,
    message: str,
    why: str,
    remedy: str,
    total: int,
    lines: Iterable[int] | None = None,
    badness: float = 1.0,
    file: str | None = None,
    num_problems: int | None = None,
) -> Iterator[Finding]:
    """One finding from its problems, or none where there are none.

    `total` is the number of examples; `lines` where the problems do not name all of them.
    """
    if not problems:
        return
    if lines is None:
        lines = {problem.line for problem in problems if problem.line is not None}
    every = tuple(sorted(set(lines)))
    count = len(problems) if num_problems is None else num_problems
    hit = max(len(every), 1) if every else max(total // 2, 1)
    yield Finding(
        code=problems[0].code,
        title=title,
        severity=problems[0].severity,
        lines=every,
        file=file,
        message=message,
        why=why,
        remedy=remedy,
        problems=tuple(problems[:MOST_DETAILED]),
        num_problems=count,
        weight=badness * min(1.0, hit / max(total, 1)),
    )


def advice(line: int | None, code: str, message: str, remedy: str, field: str | None = None) -> Problem:
    """A problem that does not stand in the way."""
    return Problem(line=line, code=code, message=message, field=field, remedy=remedy, severity="advice")


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """`1 example`, `1,200 examples`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
