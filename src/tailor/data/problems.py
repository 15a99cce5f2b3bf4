"""What is wrong with a file: every problem with its line, its place and its remedy."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

from tailor.errors import InvalidRequest

MAX_LISTED: Final = 100
"""Problems named one by one in a report; beyond that they are only counted."""

MAX_LISTED_ADVICE_PER_CODE: Final = 20
"""So that one kind of advice cannot crowd out the others."""

_MOST_LINES: Final = 100_000
_TOO_FEW: Final = frozenset({"invalid_n_examples", "empty_file"})

Severity = Literal["blocking", "advice"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One thing wrong with a file."""

    line: int | None
    """Counted from 1; None where it is about the file as a whole."""

    code: str
    """For programs; stable."""

    message: str
    """What is wrong, as a sentence without its place."""

    field: str | None = None
    """The place inside the line, as `messages[2].content`."""

    remedy: str
    """What to do about it."""

    severity: Severity = "blocking"
    """Blocking: nothing can be trained until it is mended. Advice: worth a look."""

    def __str__(self) -> str:
        place = ", ".join(
            part for part in (f"line {self.line}" if self.line else "", self.field or "") if part
        )
        return f"{place}: {self.message} {self.remedy}" if place else f"{self.message} {self.remedy}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DataReport:
    """What a check found in one file."""

    file: str
    """The name the caller gave; for people only."""

    num_lines: int
    """Lines that hold something."""

    num_examples: int
    """Lines of these that can be used."""

    problems: tuple[Problem, ...] = ()
    """The first hundred: blocking ones first, each kind in line order."""

    num_blocking: int = 0
    """All blocking problems, listed or not."""

    num_advice: int = 0
    """All advice, listed or not."""

    counts: dict[str, int] = field(default_factory=dict)
    """How often each code was found."""

    @property
    def ok(self) -> bool:
        """Whether the file can be used as it is."""
        return self.num_blocking == 0

    @property
    def blocking(self) -> tuple[Problem, ...]:
        """The listed problems that stand in the way."""
        return tuple(problem for problem in self.problems if problem.severity == "blocking")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self) | {"ok": self.ok}

    def summary(self) -> str:
        """One sentence: `train.jsonl: valid: 498/500 examples; 2 blocking problems; 7 pieces of advice`."""
        return (
            f"{self.file}: valid: {self.num_examples}/{self.num_lines} {_plural(self.num_lines, 'example')}; "
            f"{self.num_blocking} blocking {_plural(self.num_blocking, 'problem')}; "
            f"{self.num_advice} {_plural(self.num_advice, 'piece')} of advice"
        )

    def including(self, more: Iterable[Problem]) -> DataReport:
        """This report with further problems, found by looking beyond the file, such as an overlap."""
        findings = Findings()
        for problem in more:
            findings.add(problem)
        return replace(
            self,
            problems=_in_order((*self.problems, *findings.listed())),
            num_blocking=self.num_blocking + findings.num_blocking,
            num_advice=self.num_advice + findings.num_advice,
            counts=dict(Counter(self.counts) + findings.counts),
        )

    def listing(self) -> str:
        """The blocking problems, one to a line, and how many more there are."""
        listed = self.blocking
        lines = [str(problem) for problem in listed]
        if self.num_blocking > len(listed):
            lines.append(f"... and {self.num_blocking - len(listed)} more.")
        return "\n".join(lines)

    def upload_refusal(self, *, param: str = "file") -> InvalidRequest:
        """The error for an upload that is not JSONL.

        It opens with OpenAI's words, which callers match on (contract 1.1).
        """
        return InvalidRequest(
            "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
            f"{self.summary()}.\n{self.listing()}",
            param=param,
            code="invalid_jsonl",
        )

    def job_error(self, *, param: Literal["training_file", "validation_file"]) -> dict[str, str]:
        """The `error` of a job whose file cannot be used: code, message and param (contract section 3)."""
        kind = param.removesuffix("_file")
        if {problem.code for problem in self.blocking} <= _TOO_FEW:
            return {"code": "invalid_n_examples", "message": self.listing(), "param": param}
        message = (
            f"The job failed due to an invalid {kind} file. Invalid file format. "
            f"{self.summary()}.\n{self.listing()}"
        )
        return {"code": f"invalid_{param}", "message": message, "param": param}


class Findings:
    """Collects problems in bounded memory: all are counted, the first of them kept."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.num_blocking = 0
        self.num_advice = 0
        self.lines: dict[str, array[int]] = defaultdict(lambda: array("Q"))
        """Of each code the lines, in the order they were found; the first hundred thousand."""
        self._blocking: list[Problem] = []
        self._advice: dict[str, list[Problem]] = {}

    def add(self, problem: Problem, *, lines: Iterable[int] = ()) -> None:
        """Count a problem and keep it if there is room; `lines` where it is about more than its own."""
        self.counts[problem.code] += 1
        own = () if problem.line is None else (problem.line,)
        for line in lines or own:
            if len(self.lines[problem.code]) < _MOST_LINES:
                self.lines[problem.code].append(line)
        if problem.severity == "blocking":
            self.num_blocking += 1
            if len(self._blocking) < MAX_LISTED or self.counts[problem.code] == 1:
                self._blocking.append(problem)
            return
        self.num_advice += 1
        kept = self._advice.setdefault(problem.code, [])
        if len(kept) < MAX_LISTED_ADVICE_PER_CODE:
            kept.append(problem)

    def add_advice(self, problems: Sequence[Problem], *, number: int) -> None:
        """Add pieces of advice of one code, of which `problems` are only the first of `number`."""
        for problem in problems:
            self.add(problem)
        if problems:
            self.counts[problems[0].code] += number - len(problems)
            self.num_advice += number - len(problems)

    def by_code(self) -> dict[str, list[Problem]]:
        """The problems that were kept, blocking codes first."""
        found: dict[str, list[Problem]] = defaultdict(list)
        for problem in self._blocking:
            found[problem.code].append(problem)
        return found | self._advice

    def listed(self) -> tuple[Problem, ...]:
        """The first hundred, blocking before advice, each in line order."""
        return _in_order((*self._blocking, *(problem for kept in self._advice.values() for problem in kept)))

    def report(self, *, file: str, num_lines: int, num_examples: int) -> DataReport:
        """Everything found, as a report."""
        return DataReport(
            file=file,
            num_lines=num_lines,
            num_examples=num_examples,
            problems=self.listed(),
            num_blocking=self.num_blocking,
            num_advice=self.num_advice,
            counts=dict(sorted(self.counts.items())),
        )


def lines_in_words(lines: Sequence[int], *, most: int = 8) -> str:
    """`line 4`, `lines 4 and 9`, `lines 4, 9, 12 and 31 more`."""
    if len(lines) == 1:
        return f"line {lines[0]}"
    shown = [str(line) for line in lines[:most]]
    last = f"{len(lines) - most} more" if len(lines) > most else shown.pop()
    return f"lines {', '.join(shown)} and {last}"


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    by_place = sorted(problems, key=lambda problem: (problem.severity == "advice", problem.line or 0))
    return tuple(by_place[:MAX_LISTED])


def _plural(count: int, noun: str) -> str:
    return noun if count == 1 else f"{noun}s"
