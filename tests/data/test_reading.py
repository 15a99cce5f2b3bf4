import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

import pytest

from tailor.data import Dataset, check_syntax, read_cases, read_supervised, write_jsonl

Row = dict[str, Any]


def chat(question: str = "Where is my parcel?", answer: str = "order", **more: Any) -> Row:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **more}


def spell(*rows: Any) -> bytes:
    return "\n".join(json.dumps(row) for row in rows).encode()


def read(*rows: Any, minimum_examples: int = 1) -> Dataset:
    return read_supervised(io.BytesIO(spell(*rows)), name="train.jsonl", minimum_examples=minimum_examples)


def found(dataset: Dataset) -> list[tuple[int | None, str, str | None]]:
    return [(problem.line, problem.code, problem.field) for problem in dataset.report.problems]


def test_all_problems_of_all_lines_are_reported_at_once() -> None:
    bad = {
        "messages": [
            {"role": "human", "content": 5},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}], "weight": 1},
            {"role": "assistant", "content": "x", "weight": True},
            {"role": "user", "content": "and now?"},
        ],
        "tools": {},
        "parallel_tool_calls": "yes",
    }
    assert found(read(chat(), bad, {"messages": []})) == [
        (2, "unknown_role", "messages[0].role"),
        (2, "image_unsupported", "messages[1].content[0]"),
        (2, "weight_on_wrong_role", "messages[1].weight"),
        (2, "weight_not_0_or_1", "messages[2].weight"),
        (2, "last_message_not_assistant", "messages[3].role"),
        (2, "wrong_type", "tools"),
        (2, "wrong_type", "parallel_tool_calls"),
        (3, "empty_messages", "messages"),
    ]


def test_a_hundred_are_listed_and_all_are_counted() -> None:
    report = read(*[{"messages": []}] * 250, {"messages": 5}).report
    assert [problem.line for problem in report.problems] == list(range(1, 101))
    assert (report.num_blocking, report.counts) == (251, {"empty_messages": 250, "wrong_type": 1})
    assert report.listing().endswith("... and 151 more.")
    assert "valid: 0/251 examples" in report.summary()


def test_too_few_examples_are_reported_in_the_words_of_the_hosted_service() -> None:
    report = read(chat(), minimum_examples=10).report
    error = report.job_error(param="training_file")
    assert error["code"] == "invalid_n_examples"
    assert error["message"].startswith("Training file has 1 example(s), but must have at least 10 examples")


def test_one_bad_line_of_ten_is_not_also_too_few() -> None:
    report = read(*[chat()] * 9, {"messages": []}, minimum_examples=10).report
    assert set(report.counts) == {"empty_messages", "duplicate"}
    error = report.job_error(param="training_file")
    assert error["code"] == "invalid_training_file"
    assert error["message"].startswith("The job failed due to an invalid training file. Invalid file format.")
    assert "line 10, messages: the conversation is empty." in error["message"]


def test_an_upload_that_is_not_jsonl_is_refused_in_the_words_of_the_hosted_service() -> None:
    report = check_syntax(io.BytesIO(b'{"a": 1}\nhello\n[1]\n'), name="x.jsonl")
    assert not report.ok
    message = report.upload_refusal().message
    assert message.startswith("Expected file to have JSONL format")
    assert "line 2: not valid JSON" in message
    assert "line 3: the line holds a list" in message


def test_syntax_alone_does_not_look_at_the_rows() -> None:
    assert check_syntax(io.BytesIO(b'{"anything": "goes"}\n'), name="x.jsonl").ok


@pytest.mark.parametrize(
    "data", [b"\xff\xfe{\x00}\x00", b"\x1f\x8b\x08\x00\n\n", b"PK\x03\x04rest", b"PAR1\nrest\n"]
)
def test_another_kind_of_file_is_named_once(data: bytes) -> None:
    report = check_syntax(io.BytesIO(data), name="x.jsonl")
    assert [(problem.line, problem.code) for problem in report.problems] == [(1, "not_jsonl")]


@pytest.mark.parametrize("data", [b"", b"\n\n  \n"])
def test_an_empty_file_is_a_problem(data: bytes) -> None:
    assert [p.code for p in check_syntax(io.BytesIO(data), name="x.jsonl").problems] == ["empty_file"]


def test_lines_are_counted_by_line_feeds_alone() -> None:
    first = '{"text": "a\u2028b\u0085c\x0b"}'.replace("\x0b", "\\u000b").encode()
    report = check_syntax(io.BytesIO(first + b"\r\n\r\n\r\n" + b"oops"), name="x.jsonl")
    assert [(problem.line, problem.code) for problem in report.problems] == [
        (4, "json_invalid"),
        (2, "blank_line"),
    ]


def test_a_preference_file_is_one_problem() -> None:
    answer = [{"role": "assistant", "content": "x"}]
    row = {"input": {"messages": []}, "preferred_output": answer, "non_preferred_output": answer}
    (problem,) = read(*[row] * 30).report.problems
    assert (problem.line, problem.code) == (1, "preference_format")
    assert "is in the preference format" in problem.message
    assert "'dpo'" in problem.remedy


def test_a_reinforcement_file_is_one_problem_and_a_single_missing_answer_another() -> None:
    row = {"messages": [{"role": "user", "content": "2 + 2"}], "answer": "4"}
    (problem,) = read(*[row] * 30).report.problems
    assert "is in the reinforcement format" in problem.message
    assert found(read(*[chat(answer=f"x{n}") for n in range(3)], row))[0][:2] == (4, "no_assistant_message")


def test_prompts_with_completions_become_conversations() -> None:
    dataset = read({"prompt": "2 + 2 =", "completion": " 4"}, minimum_examples=1)
    assert dataset.examples[0].messages == (
        {"role": "user", "content": "2 + 2 ="},
        {"role": "assistant", "content": " 4"},
    )
    assert "prompt_completion_converted" in dataset.report.counts


def test_legacy_functions_become_tools() -> None:
    function = {"name": "weather", "parameters": {"type": "object"}}
    call = {"name": "weather", "arguments": "{}"}
    messages = [
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "function_call": call},
        {"role": "function", "name": "weather", "content": "yes"},
        {"role": "assistant", "content": "Yes.", "weight": 1},
    ]
    dataset = read({"messages": messages, "functions": [function]})
    (example,) = dataset.examples
    assert example.tools == ({"type": "function", "function": function},)
    assert example.messages[1:3] == (
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": call}],
        },
        {"role": "tool", "content": "yes", "name": "weather", "tool_call_id": "call_1"},
    )


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]
    dataset = read(
        {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": parts}]}
    )
    assert [message["content"] for message in dataset.examples[0].messages] == ["Hello there", "Hello there"]


def test_the_fingerprint_is_of_the_content_and_not_of_its_spelling() -> None:
    row = chat(id=7)
    plain = read(row, chat(answer="spam"))
    spelled = read_supervised(
        io.BytesIO(
            b"\n\r\n"
            + json.dumps(row, indent=None, sort_keys=True).encode()
            + b"\r\n"
            + spell(chat(answer="spam"))
        ),
        name="other.jsonl",
        minimum_examples=1,
    )
    assert plain.fingerprint == spelled.fingerprint
    assert plain.examples[0].fingerprint == spelled.examples[0].fingerprint
    assert plain.examples[0].fingerprint != plain.examples[1].fingerprint
    assert plain.fingerprint != read(chat()).fingerprint


def test_what_is_written_reads_back_as_the_same_dataset() -> None:
    row = chat(parallel_tool_calls=False, tools=[{"type": "function", "function": {"name": "f"}}])
    dataset = read(row, chat("Naïve 😀 \u2028?", "spam"))
    again = read_supervised(io.BytesIO(write_jsonl(dataset.examples)), name="x", minimum_examples=1)
    assert again.fingerprint == dataset.fingerprint


class Endless(io.RawIOBase):
    """A stream of many lines that are made while they are read."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self.lines = lines

    def readline(self, size: int | None = -1, /) -> bytes:
        return next(self.lines, b"")


@pytest.mark.parametrize(
    "line", [b'{"messages": []}\n', b"oops\n", b"\n", b'{"chosen": 1}\n', b"x" * 2**22 + b"yy"]
)
def test_memory_stays_flat_whatever_is_wrong(line: bytes) -> None:
    count = 100 if len(line) > 1000 else 20_000
    tracemalloc.start()
    try:
        read_supervised(cast(BinaryIO, Endless(iter([line] * count))), name="x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20


def test_cases_come_with_patterns_or_a_reference_or_as_training_rows() -> None:
    question = {"messages": [{"role": "user", "content": "Capital of France?"}]}
    data = spell(
        question | {"expected_patterns": ["Paris", "France"]},
        question | {"reference": "Paris"},
        chat("Capital of Italy?", "Rome"),
        {"prompt": "Capital of Spain?", "completion": "Madrid"},
    )
    cases = read_cases(io.BytesIO(data), name="cases.jsonl")
    assert cases.report.ok
    assert [(case.expected_patterns, case.reference) for case in cases.cases] == [
        (("Paris", "France"), None),
        ((), "Paris"),
        ((), "Rome"),
        ((), "Madrid"),
    ]
    assert all(len(case.messages) == 1 for case in cases.cases)


def test_cases_without_anything_to_judge_by_are_refused() -> None:
    question = {"messages": [{"role": "user", "content": "Capital of France?"}]}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    data = spell(
        question,
        question | {"expected_patterns": []},
        question | {"expected_patterns": "Paris"} | {"reference": 5},
        {"messages": [*question["messages"], {"role": "assistant", "tool_calls": [call]}]},
        {"question": "Capital of France?"},
    )
    report = read_cases(io.BytesIO(data), name="cases.jsonl").report
    codes = {(problem.line, problem.code) for problem in report.problems}
    assert codes >= {
        (1, "no_assistant_message"),
        (2, "empty_patterns"),
        (3, "wrong_type"),
        (4, "no_reference_text"),
        (5, "missing_messages"),
    }
