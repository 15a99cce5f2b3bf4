"""Reading a file line by line into examples of one kind, with every problem of every line."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from tailor.data._notes import Notes
from tailor.data.examples import AnyExample, Dataset, JsonObject
from tailor.data.problems import Findings, Problem
from tailor.data.reading import Rows


def read_each(
    stream: BinaryIO,
    read: Callable[[int, JsonObject, Notes], AnyExample | None],
    *,
    name: str,
    minimum_examples: int,
    noun: str,
) -> Dataset[AnyExample]:
    """The examples that `read` makes of the sound rows; what is wrong is in the dataset's report.

    `noun` names the examples for people. Never raises for what is in the file.
    """
    findings = Findings()
    rows = Rows(stream, findings)
    examples = []
    for line, row in rows:
        notes = Notes(line, findings.add)
        example = read(line, row, notes)
        if example is not None and not notes.blocked:
            examples.append(example)
    if rows.num_lines < minimum_examples:
        message = f"the file has {rows.num_lines} {noun}(s), but must have at least {minimum_examples}."
        remedy = f"Add more {noun}s."
        findings.add(Problem(line=None, code="invalid_n_examples", message=message, remedy=remedy))
    report = findings.report(file=name, num_lines=rows.num_lines, num_examples=len(examples))
    return Dataset(examples=tuple(examples), report=report)
