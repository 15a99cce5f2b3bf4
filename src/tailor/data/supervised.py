"""A training file of conversations: syntax, format, and advice on what it would teach."""

from __future__ import annotations

from typing import BinaryIO

from tailor.data.doctor import advise, too_few_lines
from tailor.data.examples import Dataset
from tailor.data.problems import Findings
from tailor.data.reading import Rows, SupervisedReader


def read_supervised(stream: BinaryIO, *, name: str, minimum_examples: int = 10) -> Dataset:
    """Read a file of conversations and check all of it: syntax, format, and advice on what it would teach.

    Never raises for what is in the file: look at `report.ok`. The examples are those of the sound lines.
    `minimum_examples` counts all lines, so that one bad line is not reported as too few.
    """
    findings = Findings()
    rows = Rows(stream, findings)
    reader = SupervisedReader(findings)
    examples = tuple(example for line, row in rows if (example := reader.read(line, row)) is not None)
    reader.finish(name, rows.num_lines)
    if rows.num_lines < minimum_examples:
        findings.add(too_few_lines(rows.num_lines, minimum_examples))
    for problems, number in advise(examples):
        findings.add_advice(problems, number=number)
    report = findings.report(file=name, num_lines=rows.num_lines, num_examples=len(examples))
    return Dataset(examples=examples, report=report)
