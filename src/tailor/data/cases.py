"""Cases to judge a model by: a prompt, and what a right answer must be or must contain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from tailor.data._messages import check_messages, check_prompt
from tailor.data._notes import Notes
from tailor.data._tools import check_tools
from tailor.data.examples import JsonObject, Message, canonical_json
from tailor.data.problems import DataReport, Findings
from tailor.data.reading import Rows


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Case:
    """One question and how to judge the answer: by patterns, or else by the reference."""

    line: int
    """Where it stood in its file, counted from 1."""

    messages: tuple[Message, ...]
    """What the model is asked."""

    tools: tuple[JsonObject, ...] = ()
    """The tools on offer."""

    expected_patterns: tuple[str, ...] = ()
    """All must occur in the answer, whatever their case."""

    reference: str | None = None
    """The right answer, where there are no patterns."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Cases:
    """A frozen sequence of cases, with what the check found in the file they came from."""

    cases: tuple[Case, ...]
    """In file order."""

    report: DataReport
    """Problems of the whole file."""

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the cases in order: equal cases, equal fingerprint."""
        digest = hashlib.sha256()
        for case in self.cases:
            content = [list(case.messages), list(case.tools), list(case.expected_patterns), case.reference]
            digest.update(canonical_json(content).encode() + b"\n")
        return digest.hexdigest()


def read_cases(stream: BinaryIO, *, name: str) -> Cases:
    """Read rows with `messages` and `expected_patterns` or `reference`, or rows of a training file.

    Of a training row the last answer is the reference. Never raises for what is in the file.
    """
    findings = Findings()
    rows = Rows(stream, findings)
    cases = tuple(
        case for line, row in rows if (case := _read_case(line, row, Notes(line, findings.add))) is not None
    )
    return Cases(
        cases=cases, report=findings.report(file=name, num_lines=rows.num_lines, num_examples=len(cases))
    )


def _read_case(line: int, row: JsonObject, notes: Notes) -> Case | None:
    patterns = _patterns(row.get("expected_patterns"), notes)
    reference = row.get("reference")
    if not isinstance(reference, str | None):
        notes.wrong_type("reference", reference, "text")
    tools = check_tools(row, notes)
    if "messages" not in row and isinstance(row.get("prompt"), str):
        reference = row.get("completion") if reference is None else reference
        row = {"messages": [{"role": "user", "content": row["prompt"]}]}
    if "messages" not in row:
        remedy = 'Write {"messages": [{"role": "user", "content": "..."}], "expected_patterns": ["..."]}.'
        notes.block("missing_messages", "messages", "the case has no messages.", remedy=remedy)
        return None
    if patterns or reference is not None:
        messages = check_prompt(row["messages"], notes)
    else:
        messages, reference = _split_answer(row["messages"], notes)
    if notes.blocked:
        return None
    return Case(
        line=line, messages=tuple(messages), tools=tools, expected_patterns=patterns, reference=reference
    )


def _patterns(value: Any, notes: Notes) -> tuple[str, ...]:
    if value is None:
        return ()
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or not all(isinstance(item, str) and item for item in patterns):
        notes.wrong_type("expected_patterns", value, "a list of texts that are not empty")
        return ()
    if not patterns:
        notes.block(
            "empty_patterns", "expected_patterns", "the list is empty.", remedy="Say what must occur."
        )
    return tuple(patterns)


def _split_answer(value: Any, notes: Notes) -> tuple[list[Message], str | None]:
    messages = check_messages(value, notes)
    if notes.blocked:
        return [], None
    answer = messages[-1]["content"]
    if answer is None:
        notes.block(
            "no_reference_text",
            f"messages[{len(messages) - 1}]",
            "the answer is a tool call, which has no text to compare with.",
            remedy="Give expected_patterns or a reference.",
        )
    return messages[:-1], answer
