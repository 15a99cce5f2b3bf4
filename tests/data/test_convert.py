"""From one form to another, and from sources to a file that can be uploaded."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from tailor.data import read_supervised
from tailor.data.convert import convert, line_of, to_form
from tailor.data.problems import Findings
from tailor.data.rows import Form, open_source
from tailor.errors import InvalidRequest
from tests.data.making import PAIRS, WRITERS, chat, jsonl, problems, values

ANSWER = {"role": "assistant", "content": "b"}
QUESTION = {"role": "user", "content": "a"}


@pytest.mark.parametrize(
    ("have", "want", "row", "expected"),
    [
        (Form.COMPLETION, Form.CHAT, {"prompt": "a", "completion": " b"}, chat("a", " b")),
        (Form.CHAT, Form.COMPLETION, chat("a", "b"), {"prompt": "a", "completion": "b"}),
        (Form.CHAT, Form.COMPLETION, {"messages": [QUESTION, ANSWER, QUESTION, ANSWER]}, None),
        (Form.CHAT, Form.REINFORCEMENT, chat("a", "b"), {"messages": [QUESTION], "reference_answer": "b"}),
        (Form.CHAT, Form.REINFORCEMENT, {"messages": [QUESTION]}, None),
        (
            Form.PREFERENCE,
            Form.CHAT,
            {
                "input": {"messages": [QUESTION], "tools": []},
                "preferred_output": [ANSWER],
                "non_preferred_output": [],
            },
            chat("a", "b", tools=[]),
        ),
        (Form.CHAT, Form.CHAT, {"messages": 5}, {"messages": 5}),
    ],
)  # fmt: skip
def test_forms(have: Form, want: Form, row: dict[str, Any], expected: dict[str, Any] | None) -> None:
    assert to_form(row, have, want) == expected


def test_a_row_that_has_no_such_form_is_reported_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl([chat("a", "b"), {"messages": [QUESTION, ANSWER, QUESTION, ANSWER]}]))
    assert values(path, form=Form.COMPLETION) == [{"prompt": "a", "completion": "b"}]
    assert [(problem.line, problem.code) for problem in problems(path, form=Form.COMPLETION)] == [
        (2, "no_such_form")
    ]


def test_a_form_that_cannot_be_made_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(jsonl([{"text": "a"}] * 3))
    with pytest.raises(InvalidRequest, match="cannot become 'preference'"):
        open_source(path, form=Form.PREFERENCE)


@pytest.mark.parametrize("name", WRITERS)
def test_what_is_converted_can_be_uploaded_and_trained_on(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, PAIRS)
    stream = io.BytesIO()
    source = open_source(tmp_path / name)
    *_, done = convert([source], stream, Findings())
    assert (done.num_rows, done.num_left_out, done.position) == (len(PAIRS), 0, source.num_bytes)
    stream.seek(0)
    dataset = read_supervised(stream, name="out.jsonl", minimum_examples=1)
    assert dataset.report.num_blocking == 0
    assert [example.to_row() for example in dataset.examples] == [chat(*pair) for pair in PAIRS]


def test_several_sources_become_one_file(tmp_path: Path) -> None:
    for name in ("table.csv", "table.parquet"):
        WRITERS[name](tmp_path / name, PAIRS)
    stream, findings = io.BytesIO(), Findings()
    sources = [open_source(tmp_path / name) for name in ("table.csv", "table.parquet")]
    *_, done = convert(sources, stream, findings)
    assert done.num_rows == 2 * len(PAIRS)
    assert not findings.counts


def test_a_line_separator_in_a_text_ends_no_line() -> None:
    line = line_of(chat("a\u2028b\nc", "d\x85"))
    assert line.count(b"\n") == 1
    assert json.loads(line) == chat("a\u2028b\nc", "d\x85")
