"""Plain text to learn from: JSONL rows with `text`, or with `messages` for conversations among them."""

from __future__ import annotations

from typing import BinaryIO

from tailor.data._each import read_each
from tailor.data._messages import check_messages
from tailor.data._notes import Notes
from tailor.data.examples import Dataset, JsonObject, TextExample

_REMEDY = 'Write {"text": "..."}, one document to a line.'


def read_texts(stream: BinaryIO, *, name: str, minimum_examples: int = 1) -> Dataset[TextExample]:
    """Read a file for the method 'text' and check all of it.

    Never raises for what is in the file: look at `report.ok`. The examples are those of the sound lines.
    Fields beside `text` or `messages` (a source, an id) are passed over.
    """
    return read_each(stream, _read, name=name, minimum_examples=minimum_examples, noun="document")


def _read(line: int, row: JsonObject, notes: Notes) -> TextExample | None:
    if "messages" in row and "text" not in row:
        messages = check_messages(row["messages"], notes)
        return None if notes.blocked else TextExample(line=line, messages=tuple(messages))
    if "text" not in row:
        notes.block("missing_text", "text", "there is no 'text'.", remedy=_REMEDY)
    elif not isinstance(row["text"], str):
        notes.wrong_type("text", row["text"], "text")
    elif not row["text"].strip():
        notes.block("empty_text", "text", "the text is empty.", remedy="Remove the line.")
    else:
        return TextExample(line=line, text=row["text"])
    return None
