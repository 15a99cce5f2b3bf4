"""Files to rows to examples: one pass, in memory that does not grow with what is wrong.

Lines end at a line feed and nowhere else: other characters that Unicode calls line breaks belong to the
text, and counting them would point people at the wrong line.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, BinaryIO, Final

from tailor.data._messages import check_messages, refuse_unanswered
from tailor.data._notes import Notes, kind_of
from tailor.data._tools import check_tools
from tailor.data.examples import Example, JsonObject
from tailor.data.problems import DataReport, Findings, Problem, lines_in_words
from tailor.protocol.strict import MAX_LINE_BYTES, StrictJsonError, parse_strict

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_OTHER_FILES: Final = {
    b"\xff\xfe": ("UTF-16 text", "Save it as UTF-8."),
    b"\xfe\xff": ("UTF-16 text", "Save it as UTF-8."),
    b"\x1f\x8b": ("a gzip archive", "Unpack it first."),
    b"PK\x03\x04": ("a ZIP archive or an office document", "Export it as JSON Lines."),
    b"PAR1": ("a Parquet file", "Export it as JSON Lines."),
}
_PREFERENCE_KEYS: Final = ("preferred_output", "non_preferred_output", "chosen", "rejected")
_SUPERVISED_KEYS: Final = frozenset(
    {"messages", "tools", "functions", "function_call", "parallel_tool_calls", "metadata", "id"}
)


class Rows:
    """The rows of a JSONL stream, with everything that is wrong with its lines as JSON."""

    def __init__(self, stream: BinaryIO, findings: Findings) -> None:
        self.num_lines = 0
        """Lines that hold something, so far."""
        self._stream = stream
        self._findings = findings

    def __iter__(self) -> Iterator[tuple[int, JsonObject]]:
        blank_from, number = 0, 0
        for number, line in enumerate(_lines(self._stream), start=1):
            if number == 1 and self._is_another_file(line):
                return
            if line is not None and not line.strip():
                blank_from = blank_from or number
                continue
            if blank_from:
                self._note_blank(blank_from, number)
                blank_from = 0
            self.num_lines += 1
            row = self._parse(number, line)
            if row is not None:
                yield number, row
        if not self.num_lines:
            self._block(None, "empty_file", "the file is empty.", "Write one JSON object to a line.")

    def _parse(self, number: int, line: bytes | None) -> JsonObject | None:
        if line is None:
            message = f"the line is longer than {MAX_LINE_BYTES // 2**20} MiB."
            self._block(
                number, "line_too_long", message, "Write one example to a line, and split very long ones."
            )
            return None
        if line.startswith(_BYTE_ORDER_MARK):
            self._findings.add(
                Problem(
                    line=number,
                    code="byte_order_mark",
                    message="the line starts with a byte order mark, which was passed over.",
                    remedy="Save the file as UTF-8 without BOM.",
                    severity="advice",
                )
            )
        try:
            row = parse_strict(line)
        except StrictJsonError as error:
            code = str(error.code)
            self._block(number, code, f"{error.message}.", error.remedy or "", field=error.pointer)
            return None
        if not isinstance(row, dict):
            message = f"the line holds {kind_of(row)}, not an object."
            self._block(
                number, "not_an_object", message, 'Every line must be one object: {"messages": [...]}.'
            )
            return None
        return row

    def _is_another_file(self, line: bytes | None) -> bool:
        for magic, (kind, remedy) in _OTHER_FILES.items():
            if line is not None and line.startswith(magic):
                self.num_lines = 1
                self._block(1, "not_jsonl", f"the file is {kind}, not JSON Lines in UTF-8.", remedy)
                return True
        return False

    def _note_blank(self, first: int, after: int) -> None:
        lines = f"line {first} is" if after == first + 1 else f"lines {first} to {after - 1} are"
        self._findings.add(
            Problem(
                line=first,
                code="blank_line",
                message=f"{lines} blank.",
                remedy="Blank lines are passed over; remove them.",
                severity="advice",
            )
        )

    def _block(
        self, line: int | None, code: str, message: str, remedy: str, *, field: str | None = None
    ) -> None:
        self._findings.add(Problem(line=line, code=code, message=message, field=field, remedy=remedy))


def check_syntax(stream: BinaryIO, *, name: str) -> DataReport:
    """Whether every line is a JSON object: what an upload is checked for. Memory stays flat."""
    findings = Findings()
    rows = Rows(stream, findings)
    sound = sum(1 for _ in rows)
    return findings.report(file=name, num_lines=rows.num_lines, num_examples=sound)


class SupervisedReader:
    """Turns rows into examples, and remembers the lines that turn out to be of another format."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._preference = array("Q")
        self._reinforcement = array("Q")
        self._completion = array("Q")

    def read(self, line: int, row: JsonObject) -> Example | None:
        """The example of a row, or None where it is not sound; what is wrong goes to the findings."""
        notes = Notes(line, self._findings.add)
        if any(key in row for key in _PREFERENCE_KEYS):
            self._preference.append(line)
            return None
        if "messages" not in row and "prompt" in row and "completion" in row:
            self._completion.append(line)
            row = _from_completion(row, notes)
        elif "messages" not in row:
            _refuse_format(row, notes)
            return None
        elif looks_like_reinforcement(row):
            self._reinforcement.append(line)
            return None
        messages = [] if notes.blocked else check_messages(row["messages"], notes)
        tools = check_tools(row, notes)
        parallel = row.get("parallel_tool_calls")
        if not isinstance(parallel, bool | None):
            notes.wrong_type("parallel_tool_calls", parallel, "true or false")
        if notes.blocked:
            return None
        return Example(line=line, messages=tuple(messages), tools=tools, parallel_tool_calls=parallel)

    def finish(self, name: str, num_lines: int) -> None:
        """Say once, for the whole file, what is of another format."""
        if self._preference:
            self._refuse_method(name, "preference", "dpo", self._preference, num_lines)
        if 2 * len(self._reinforcement) > num_lines:
            self._refuse_method(name, "reinforcement", "reinforcement", self._reinforcement, num_lines)
        else:
            for line in self._reinforcement:
                refuse_unanswered(Notes(line, self._findings.add))
        if self._completion:
            self._findings.add(
                Problem(
                    line=self._completion[0],
                    code="prompt_completion_converted",
                    message=f"{len(self._completion)} of {num_lines} lines are prompt/completion pairs; "
                    "they are read as one user and one assistant message.",
                    remedy="Ask the tuned model in the same way: the prompt as one user message.",
                    severity="advice",
                )
            )

    def _refuse_method(self, name: str, form: str, method: str, lines: array[int], num_lines: int) -> None:
        self._findings.add(
            Problem(
                line=lines[0],
                code=f"{form}_format",
                message=f"Input file {name} is in the {form} format ({len(lines)} of {num_lines} lines: "
                f"{lines_in_words(lines)}), but it is to be used with the 'supervised' training method.",
                remedy=f"Use the method {method!r}, or give conversations that end with the wanted answer.",
            ),
            lines=lines,
        )


def _lines(stream: BinaryIO) -> Iterator[bytes | None]:
    """Each line without its end; None for one that is too long to be kept."""
    while line := stream.readline(MAX_LINE_BYTES + 2):
        if line.endswith(b"\n") or len(line) < MAX_LINE_BYTES + 2:
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            yield line if len(line) <= MAX_LINE_BYTES else None
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE_BYTES)
        yield None


def _from_completion(row: JsonObject, notes: Notes) -> JsonObject:
    for key in ("prompt", "completion"):
        if not isinstance(row[key], str):
            notes.wrong_type(key, row[key], "text")
    if isinstance(row["completion"], str) and not row["completion"].strip():
        notes.block(
            "assistant_without_content",
            "completion",
            "the completion is empty.",
            remedy="Give the wanted answer.",
        )
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    return {**row, "messages": messages}


def looks_like_reinforcement(row: JsonObject) -> bool:
    """Whether a row asks a question, gives no answer, and carries fields for a grader."""
    messages = row["messages"]
    if row.keys() <= _SUPERVISED_KEYS or not isinstance(messages, list) or not messages:
        return False
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    return roles[-1] == "user" and "assistant" not in roles


def _refuse_format(row: JsonObject, notes: Notes) -> None:
    remedy = (
        'Write {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.'
    )
    if "conversations" in row:
        remedy = "This looks like ShareGPT: write messages with role and content, not from and value."
    elif "instruction" in row and "output" in row:
        remedy = (
            "This looks like Alpaca: make the instruction the user message and the output the assistant's."
        )
    elif row.keys() & {"text"} and len(row) == 1:
        remedy = "Plain text is for the training method 'text'; for conversations: " + remedy
    notes.block(
        "missing_messages",
        "messages",
        "Unexpected file format, expected either prompt/completion pairs or chat messages.",
        remedy=remedy,
    )
