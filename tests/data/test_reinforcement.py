"""Prompts to learn on by trying: what is read, and every way a line can be wrong."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tailor.data import Dataset, ReinforcementExample, hold_out, overlap, read_reinforcement, write_jsonl

GOOD: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Add."},
        {"role": "user", "content": [{"type": "text", "text": "2 + 3"}]},
    ],
    "answer": "5",
    "level": {"digits": 1},
}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


def read(*rows: Any, minimum: int = 1) -> Dataset[ReinforcementExample]:
    data = b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
    return read_reinforcement(io.BytesIO(data), name="prompts.jsonl", minimum_examples=minimum)


def test_a_row_is_a_prompt_and_the_item_of_the_grader() -> None:
    dataset = read(GOOD | {"tools": [TOOL]})
    [example] = dataset.examples
    assert dataset.report.ok
    assert example.messages[-1] == {"role": "user", "content": "2 + 3"}
    assert example.tools == (TOOL,)
    assert example.item == GOOD | {"tools": [TOOL]}
    assert example.item["messages"][1]["content"] == [{"type": "text", "text": "2 + 3"}]


def test_what_is_held_out_reads_back_as_it_was() -> None:
    dataset = read(
        *[GOOD | {"answer": str(n), "messages": [{"role": "user", "content": f"{n}"}]} for n in range(20)]
    )
    training, held = hold_out(dataset, share=0.2, maximum=100, seed=1)
    assert (len(training), len(held)) == (16, 4)
    again = read_reinforcement(io.BytesIO(write_jsonl(held.examples)), name="held", minimum_examples=1)
    assert again.fingerprint == held.fingerprint
    assert overlap(training, held) == ()


def test_the_same_question_with_another_answer_is_the_same_prompt() -> None:
    one, other = read(GOOD, GOOD | {"answer": "6"}).examples
    assert one.prompt_key() == other.prompt_key()
    assert one.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"answer": "5"}, "missing_messages", "messages"),
        ({"input": {}, "preferred_output": [], "non_preferred_output": []}, "missing_messages", "messages"),
        (
            {"messages": [*GOOD["messages"], {"role": "assistant", "content": "5"}]},
            "answer_in_prompt",
            "messages[2].role",
        ),
        ({"messages": [{"role": "system", "content": "Add."}]}, "last_message_not_user", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "missing_content", "messages[0].content"),
        ({"messages": "2 + 3"}, "wrong_type", "messages"),
        ({"messages": []}, "empty_messages", "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "unknown_role", "messages[0].role"),
        (GOOD | {"tools": "add"}, "wrong_type", "tools"),
    ],
)
def test_every_problem_has_its_line_field_and_remedy(row: Any, code: str, field: str) -> None:
    report = read(GOOD, row).report
    [problem] = report.blocking
    assert (problem.line, problem.code, problem.field) == (2, code, field)
    assert problem.remedy
    assert report.num_examples == 1


def test_all_bad_lines_are_reported_at_once() -> None:
    report = read(b"{", {"messages": []}, GOOD, [1], minimum=10).report
    assert {problem.line for problem in report.blocking} == {None, 1, 2, 4}
    assert any("must have at least 10" in problem.message for problem in report.blocking)
