"""From a record to a row in OpenAI's form, as the mapping says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from tailor.data._notes import kind_of
from tailor.data.examples import JsonObject, Message
from tailor.data.problems import Problem
from tailor.data.rows import Form, Mapping
from tailor.data.sources.guessing import EXCHANGES, OPENAI
from tailor.data.sources.paths import as_text, find
from tailor.data.sources.transcripts import exchange, looks_like_turns, messages_of, spoken

_ROW_KEYS: Final = ("tools", "parallel_tool_calls")


class Shaper:
    """Makes rows of one form from the records of one source."""

    def __init__(self, form: Form, mapping: Mapping) -> None:
        self._form = form
        self._mapping = mapping
        self._labels = dict(mapping.labels)

    def rows(self, line: int, record: JsonObject) -> Iterator[JsonObject | Problem]:
        """The row of a record, or several with `each`, or why there is none."""
        for item in items_of(record, self._mapping.each):
            yield from self._row(line, item)

    def _row(self, line: int, record: JsonObject) -> Iterator[JsonObject | Problem]:
        mapping = self._mapping
        if mapping.how in OPENAI:
            yield _with_system(record, mapping.system) if mapping.system else record
        elif mapping.how == EXCHANGES:
            row = exchange(record)
            yield (
                _with_system(row, mapping.system)
                if row
                else _missing(line, "choices", "no question or no answer")
            )
        elif mapping.messages:
            yield from self._conversation(line, record, mapping.messages)
        elif self._form is Form.PREFERENCE:
            yield self._pair(line, record)
        elif self._form is Form.TEXT and mapping.text:
            text = as_text(find(record, mapping.text))
            yield {"text": text} if text.strip() else _missing(line, mapping.text, "no text")
        elif self._form is Form.TABLE:
            yield record
        else:
            yield self._question_and_answer(line, record)

    def _question_and_answer(self, line: int, record: JsonObject) -> JsonObject | Problem:
        mapping = self._mapping
        question = self._question(record)
        if not question.strip():
            return _missing(line, mapping.input[0] if mapping.input else "input", "no question")
        messages = [*self._system(record), {"role": "user", "content": question}]
        if self._form is Form.REINFORCEMENT:
            return {"messages": messages, **{name: find(record, name) for name in mapping.keep}}
        answer = self._answer(find(record, mapping.output or "output"))
        if not answer.strip():
            return _missing(line, mapping.output or "output", "no answer")
        return {"messages": [*messages, {"role": "assistant", "content": answer}], **self._tools(record)}

    def _question(self, record: JsonObject) -> str:
        parts = [as_text(find(record, column)) for column in self._mapping.input]
        return parts[0] if len(parts) == 1 else "\n\n".join(part for part in parts if part.strip())

    def _answer(self, value: Any) -> str:
        text = as_text(value)
        return self._labels.get(text, text)

    def _system(self, record: JsonObject) -> list[Message]:
        own = as_text(find(record, self._mapping.system_column)) if self._mapping.system_column else ""
        text = own if own.strip() else self._mapping.system or ""
        return [{"role": "system", "content": text}] if text else []

    def _tools(self, record: JsonObject) -> JsonObject:
        if self._mapping.tools is None:
            return {}
        tools = find(record, self._mapping.tools)
        if isinstance(tools, str) and tools.strip():
            try:
                tools = json.loads(tools)
            except (ValueError, RecursionError):
                return {"tools": tools}  # not for us to mend: the check says what is wrong with it
        if not tools:
            return {}
        if isinstance(tools, list):
            tools = [
                {"type": "function", "function": tool}
                if isinstance(tool, dict) and "function" not in tool
                else tool
                for tool in tools
            ]
        return {"tools": tools}

    def _conversation(self, line: int, record: JsonObject, column: str) -> Iterator[JsonObject | Problem]:
        said = find(record, column)
        messages = _messages(said)
        if messages is None:
            yield _not_a_conversation(line, column, said)
            return
        if messages[0].get("role") != "system":
            messages = [*self._system(record), *messages]
        kept = max(
            (n for n, message in enumerate(messages) if message.get("role") == "assistant"), default=None
        )
        if kept is not None and self._form is Form.CHAT and kept + 1 < len(messages):
            yield Problem(
                line=line,
                code="trailing_question_left_out",
                field=column,
                message="the conversation ends without an answer; what follows the last one was left out.",
                remedy="Nothing to do, unless the answer got lost.",
                severity="advice",
            )
            messages = messages[: kept + 1]
        yield {"messages": messages, **self._tools(record)}

    def _pair(self, line: int, record: JsonObject) -> JsonObject | Problem:
        mapping = self._mapping
        better, worse = find(record, mapping.preferred or ""), find(record, mapping.rejected or "")
        sides = [_side(better), _side(worse)]
        if sides[0] is None or sides[1] is None:
            empty = mapping.preferred if sides[0] is None else mapping.rejected
            return _missing(line, empty or "", "no answer")
        asked = [] if len(sides[0]) > 1 else self._asked(record)
        shared = [[*asked, *side[:-1]] for side in sides if side is not None]
        if shared[0] != shared[1]:
            return Problem(
                line=line,
                code="pair_of_two_questions",
                message="the two answers of the pair were given to different conversations.",
                remedy="Leave it out: a pair must differ in its last answer alone.",
            )
        if not shared[0]:
            return _missing(line, mapping.input[0] if mapping.input else "input", "no question")
        conversation = (
            shared[0] if shared[0][0].get("role") == "system" else [*self._system(record), *shared[0]]
        )
        return {
            "input": {"messages": conversation, **self._tools(record)},
            "preferred_output": sides[0][-1:],
            "non_preferred_output": sides[1][-1:],
        }

    def _asked(self, record: JsonObject) -> list[Message]:
        if len(self._mapping.input) == 1 and looks_like_turns(said := find(record, self._mapping.input[0])):
            return messages_of(said) or []
        question = self._question(record)
        return [{"role": "user", "content": question}] if question.strip() else []


def items_of(record: JsonObject, each: str | None) -> Iterator[JsonObject]:
    """The record, or every item of the list at a path with the record's columns beside its own."""
    if each is None:
        yield record
        return
    found = find(record, each)
    for item in found if isinstance(found, list) else [found]:
        if isinstance(item, dict):
            yield {**record, **item}
        elif isinstance(item, list):
            yield {**record, **{f"column{number}": cell for number, cell in enumerate(item, start=1)}}
        elif item is not None:
            yield {**record, each: item}


def _messages(said: Any) -> list[Message] | None:
    if isinstance(said, str):
        try:
            decoded = json.loads(said)
        except (ValueError, RecursionError):
            return spoken(said)
        said = decoded
    if looks_like_turns(said):
        return messages_of(said)
    if isinstance(said, list) and said and all(isinstance(text, str) for text in said):
        return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(said)]
    return None


def _side(value: Any) -> list[Message] | None:
    """One half of a pair: a conversation, or an answer alone."""
    if isinstance(value, str):
        said = spoken(value)
        return said or ([{"role": "assistant", "content": value}] if value.strip() else None)
    return messages_of(value) if looks_like_turns(value) else None


def _with_system(row: JsonObject, system: str | None) -> JsonObject:
    messages = row.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    if not system or not isinstance(first, dict) or first.get("role") in ("system", "developer"):
        return row
    return {**row, "messages": [{"role": "system", "content": system}, *row["messages"]]}


def _missing(line: int, column: str, what: str) -> Problem:
    return Problem(
        line=line,
        code="empty_cell",
        field=column,
        message=f"there is {what} here.",
        remedy="Fill it in, or remove the row.",
    )


def _not_a_conversation(line: int, column: str, said: Any) -> Problem:
    if looks_like_turns(said):
        said_by = "somebody speaks whose part is not known, or a call is not JSON."
        remedy = "Let it be one of system, user, assistant, tool."
    else:
        said_by = (
            f"this is {kind_of(said)}, not a list of messages." if said else "there is no conversation here."
        )
        remedy = "Every turn needs who speaks (role, from) and what (content, value)."
    return Problem(line=line, code="not_a_conversation", field=column, message=said_by, remedy=remedy)
