"""Rows of any form to items, line by line, with what is wrong with each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from tailor.data._messages import check_messages, check_prompt
from tailor.data._notes import Notes
from tailor.data._tools import check_tools
from tailor.data.doctor.corpus import Item
from tailor.data.examples import Example, JsonObject, Message, TextExample, canonical_json, digest_of
from tailor.data.problems import Findings, Problem
from tailor.data.reading import Rows, SupervisedReader, looks_like_reinforcement
from tailor.data.rows import Form, Row

Incoming = Iterable[Row | Problem]
"""Rows of a source, and what is wrong with the lines that gave none."""


class Items:
    """The sound rows of a source as items; what is wrong with the others goes to the findings."""

    def __init__(self, rows: Incoming, *, form: Form, name: str, findings: Findings) -> None:
        self.num_lines = 0
        """Lines that hold something, so far."""
        self.num_items = 0
        """Of these, lines that can be used."""
        self._rows = rows
        self._form = form
        self._name = name
        self._findings = findings

    def __iter__(self) -> Iterator[Item]:
        supervised = SupervisedReader(self._findings)
        for row in self._rows:
            if isinstance(row, Problem):
                self.num_lines += row.severity == "blocking" and row.line is not None
                self._findings.add(row)
                continue
            self.num_lines += 1
            item = self._item(row, supervised)
            if item is not None:
                self.num_items += 1
                yield item
        supervised.finish(self._name, self.num_lines)

    def _item(self, row: Row, supervised: SupervisedReader) -> Item | None:
        if self._form in (Form.CHAT, Form.COMPLETION):
            example = supervised.read(row.line, row.value)
            return None if example is None else item_of(example, file=row.file)
        notes = Notes(row.line, self._findings.add)
        make = {
            Form.PREFERENCE: _of_pair,
            Form.REINFORCEMENT: _of_prompt,
            Form.TEXT: _of_text,
        }[self._form]
        item = make(row, notes)
        return None if notes.blocked else item


def jsonl_rows(stream: BinaryIO, *, name: str, findings: Findings) -> Iterator[Row]:
    """The rows of a JSONL stream, such as an upload; what is wrong with its lines goes to the findings."""
    for line, value in Rows(stream, findings):
        yield Row(line=line, file=name, value=value)


def form_of(value: JsonObject) -> Form:
    """What the first row of a JSONL file says that all are."""
    if "preferred_output" in value or "chosen" in value:
        return Form.PREFERENCE
    if "messages" in value:
        return Form.REINFORCEMENT if looks_like_reinforcement(value) else Form.CHAT
    if "text" in value and "prompt" not in value:
        return Form.TEXT
    return Form.CHAT


def item_of(example: Example, *, file: str = "") -> Item:
    """An example that was read before, as an item."""
    return _item(
        example.line,
        file,
        example.messages,
        example.tools,
        fingerprint=example.fingerprint,
        prompt_key=example.prompt_key(),
    )


def _item(
    line: int,
    file: str,
    messages: Sequence[Message],
    tools: Sequence[JsonObject],
    *,
    fingerprint: str,
    prompt_key: str,
    rejected: str | None = None,
    answered: bool = True,
) -> Item:
    prompt = messages[:-1] if answered else messages
    systems = [message["content"] or "" for message in prompt if message["role"] in ("system", "developer")]
    said = [message for message in prompt if message["role"] not in ("system", "developer")]
    questions = [message for message in said if message["role"] in ("user", "tool")]
    answer = messages[-1] if answered else None
    return Item(
        line=line,
        file=file,
        fingerprint=fingerprint,
        prompt_key=prompt_key,
        system="\n".join(systems) if systems else None,
        asked="\n".join(said_in(message) for message in said),
        question=(questions[-1]["content"] or "") if questions else "",
        has_question=bool(questions),
        answer="" if answer is None else said_in(answer),
        rejected=rejected,
        num_answers=sum(message["role"] == "assistant" for message in messages),
        calls_tools=answer is not None and bool(answer.get("tool_calls")),
        messages=tuple(messages),
        tools=tuple(tools),
    )


def said_in(message: Message) -> str:
    """What a message says: its text, and its tool calls as JSON."""
    text = message["content"] or ""
    calls = message.get("tool_calls")
    if not calls:
        return text
    said = [{key: call["function"][key] for key in ("name", "arguments")} for call in calls]
    return "\n".join(part for part in (text, canonical_json(said)) if part)


def _of_text(row: Row, notes: Notes) -> Item | None:
    text = row.value.get("text")
    if not isinstance(text, str):
        notes.wrong_type("text", text, "text")
        return None
    if not text.strip():
        notes.block("empty_text", "text", "the text is empty.", remedy="Remove the line.")
        return None
    example = TextExample(line=row.line, text=text)
    return Item(
        line=row.line,
        file=row.file,
        fingerprint=example.fingerprint,
        prompt_key=example.fingerprint,
        system=None,
        asked="",
        question="",
        answer=text,
    )


def _of_prompt(row: Row, notes: Notes) -> Item | None:
    tools = check_tools(row.value, notes)
    messages = check_prompt(row.value.get("messages"), notes)
    if notes.blocked:
        return None
    key = digest_of([messages, list(tools)])
    whole = digest_of(row.value)
    return _item(row.line, row.file, messages, tools, fingerprint=whole, prompt_key=key, answered=False)


def _of_pair(row: Row, notes: Notes) -> Item | None:
    given = row.value.get("input")
    if not isinstance(given, dict):
        notes.wrong_type("input", given, "an object with messages")
        return None
    tools = check_tools(given, notes)
    prompt = check_prompt(given.get("messages"), notes)
    better = _answer(row.value, "preferred_output", notes)
    worse = _answer(row.value, "non_preferred_output", notes)
    if better is None or worse is None or notes.blocked:
        return None
    if better == worse:
        remedy = "Leave the line out: it says nothing about what is better."
        notes.block("equal_pair", "preferred_output", "both answers are the same.", remedy=remedy)
        return None
    return _item(
        row.line,
        row.file,
        [*prompt, better],
        tools,
        fingerprint=digest_of([prompt, list(tools), better, worse]),
        prompt_key=digest_of([prompt, list(tools)]),
        rejected=said_in(worse),
    )


def _answer(value: JsonObject, key: str, notes: Notes) -> Message | None:
    given: Any = value.get(key)
    if isinstance(given, dict):
        given = [given]
    if not isinstance(given, list):
        notes.wrong_type(key, given, "a list with one assistant message")
        return None
    if len(given) != 1:
        remedy = "Give exactly one assistant message."
        notes.block("not_one_answer", key, f"there are {len(given)} messages.", remedy=remedy)
        return None
    messages = check_messages(given, notes)
    return messages[-1] if messages and not notes.blocked else None
