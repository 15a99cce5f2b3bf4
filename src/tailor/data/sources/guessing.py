"""What the columns of a file are: by its keys where the form is a known one, by names and values where not.

A guess is only made where one reading is plainly better than the others. Otherwise one sentence names the
columns and the options that settle it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from shlex import quote
from typing import Any, Final

from tailor.data.examples import JsonObject
from tailor.data.rows import Form, Mapping
from tailor.data.sources.paths import find, first_column
from tailor.data.sources.transcripts import answer_of, exchange, looks_like_turns, spoken
from tailor.errors import InvalidRequest

_INPUTS: Final = (
    "prompt", "instruction", "question", "query", "input", "text", "utterance", "user", "human", "message",
    "email", "mail", "request", "sentence", "document", "article", "passage", "dialogue", "dialog", "content",
    "body", "comment", "review", "tweet", "ticket", "command", "mr", "in", "src", "source_text", "q",
)  # fmt: skip
_OUTPUTS: Final = (
    "completion", "response", "answer", "output", "label", "intent", "target", "assistant", "reply",
    "category", "class", "summary", "ref", "reference", "sql", "sentiment", "highlights", "translation",
    "solution", "ground_truth", "expected", "out", "gold", "topic", "tgt", "a",
)  # fmt: skip
_BESIDE: Final = {
    "instruction": ("input", "context"),
    "question": ("context", "passage"),
    "query": ("context",),
}
_PREFERRED: Final = (("chosen", "rejected"), ("preferred", "rejected"), ("good", "bad"), ("win", "lose"))
_TURNS: Final = ("messages", "conversations", "conversation", "turns", "dialogue", "dialog", "history")
_SYSTEMS: Final = ("system", "system_prompt", "system_message")
_ABOUT: Final = frozenset(
    [
        "id",
        "source",
        "url",
        "title",
        "meta",
        "metadata",
        "timestamp",
        "date",
        "author",
        "license",
        "licence",
        "lang",
        "language",
        "index",
        "line",
        "created_at",
    ]
)
_CHOICES: Final = ("choices", "options", "endings")
_INDICES: Final = ("gold", "label", "answer", "answer_index", "correct", "target")
_MAX_LABEL: Final = 60
_MOST: Final = 0.5
"""Share of the rows in which a column must hold what it is taken for."""
_ASKED: Final = ("input", "output", "messages", "preferred", "rejected", "text")


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """What a file's rows are, and which columns make them."""

    form: Form
    mapping: Mapping


def guess(
    records: Sequence[JsonObject], given: Mapping, *, name: str, form: Form | None, is_plain_text: bool
) -> Guess:
    """What the rows are, from the first of them.

    Args:
        records: The first rows as they stand; with `given.each`, already taken apart.
        given: What the user said; it is never overruled.
        name: Of the file.
        form: What the user wants the rows to become.
        is_plain_text: Whether the file has no columns at all.

    Raises:
        InvalidRequest: They cannot be told: one sentence says what to give.
    """
    columns = list(dict.fromkeys(key for record in records for key in record))
    _refuse_unknown(given, records, columns, name)
    if is_plain_text and form is not Form.TEXT and not given.text:
        raise InvalidRequest(
            f"{name} is plain text without columns: say --form text to learn its lines as they are."
        )
    found = _asked(given) or _known(records) or _by_names(records, columns, form) or _in_part(given)
    if found is None:
        raise InvalidRequest(_sentence(records, columns, name))
    return _completed(found, given, records, columns, name)


def _asked(given: Mapping) -> Guess | None:
    """The form that the user's own columns make; the columns that are missing come later."""
    if given.messages:
        return Guess(form=Form.CHAT, mapping=Mapping(messages=given.messages))
    if given.preferred or given.rejected:
        return Guess(form=Form.PREFERENCE, mapping=Mapping())
    if given.text:
        return Guess(form=Form.TEXT, mapping=Mapping(text=given.text))
    if given.keep and given.input:
        return Guess(form=Form.REINFORCEMENT, mapping=Mapping())
    if given.input and given.output:
        return Guess(form=Form.CHAT, mapping=Mapping())
    return None


def _in_part(given: Mapping) -> Guess | None:
    """With half of a question and its answer named, the other half may still be found by its name."""
    return Guess(form=Form.CHAT, mapping=Mapping()) if given.input or given.output else None


def _known(records: Sequence[JsonObject]) -> Guess | None:
    """The form that most rows are in, if it is one that names itself by its keys."""
    votes = Counter(_known_form(record) for record in records)
    votes.pop(None, None)
    if not votes:
        return None
    how, count = votes.most_common(1)[0]
    # A few broken rows must not hide what the file is; the rest of them is reported line by line.
    if how is None or 2 * sum(votes.values()) < len(records) or 2 * count < sum(votes.values()):
        return None
    return Guess(form=_FORMS[how], mapping=_MAPPINGS.get(how, Mapping()))


_FORMS: Final = {
    "OpenAI chat": Form.CHAT,
    "OpenAI preference": Form.PREFERENCE,
    "OpenAI reinforcement": Form.REINFORCEMENT,
    "OpenAI completion": Form.COMPLETION,
    "requests with their answers": Form.CHAT,
    "plain text": Form.TEXT,
    "ShareGPT": Form.CHAT,
    "Alpaca": Form.CHAT,
}
_MAPPINGS: Final = {
    **{how: Mapping(how=how) for how in _FORMS},
    "plain text": Mapping(text="text", how="plain text"),
    "ShareGPT": Mapping(messages="conversations", how="ShareGPT"),
    "Alpaca": Mapping(input=("instruction", "input"), output="output", how="Alpaca"),
}
OPENAI: Final = frozenset(how for how in _FORMS if how.startswith("OpenAI"))
"""Forms whose rows are taken as they stand."""

EXCHANGES: Final = "requests with their answers"


def _known_form(record: JsonObject) -> str | None:
    keys = record.keys()
    if "preferred_output" in keys or "non_preferred_output" in keys:
        return "OpenAI preference"
    if exchange(record) is not None:
        return EXCHANGES
    if isinstance(record.get("messages"), list):
        return "OpenAI reinforcement" if _is_question(record) else "OpenAI chat"
    if looks_like_turns(record.get("conversations")):
        return "ShareGPT"
    if {"instruction", "output"} <= keys and "input" in keys:
        return "Alpaca"
    if {"prompt", "completion"} <= keys and all(
        isinstance(record[key], str) for key in ("prompt", "completion")
    ):
        return "OpenAI completion"
    if "text" in keys and keys - {"text"} <= _ABOUT and isinstance(record["text"], str):
        return "plain text"
    return None


def _is_question(record: JsonObject) -> bool:
    messages = record["messages"]
    last = messages[-1] if messages else None
    more = record.keys() - {"messages", "tools", "parallel_tool_calls", "functions", "metadata", "id"}
    return bool(more) and isinstance(last, dict) and last.get("role") == "user"


def _by_names(records: Sequence[JsonObject], columns: Sequence[str], form: Form | None) -> Guess | None:
    how = "guessed from the column names"
    turns = [name for name in _named(columns, _TURNS) if _share(records, name, _is_conversation) >= _MOST]
    if turns:
        return Guess(form=Form.CHAT, mapping=Mapping(messages=turns[0], how=how))
    pair = next((pair for pair in _PREFERRED if len(_named(columns, pair)) == 2), None)
    if pair is not None:
        preferred, rejected = _named(columns, pair)
        asked = _named(columns, _INPUTS)[:1]
        if asked or _share(records, preferred, _holds_its_question) >= _MOST:
            mapping = Mapping(input=tuple(asked), preferred=preferred, rejected=rejected, how=how)
            return Guess(form=Form.PREFERENCE, mapping=mapping)
        return None
    asked = [name for name in _named(columns, _INPUTS) if _share(records, name, _is_text) >= _MOST]
    choices = _multiple_choice(records, columns)
    if choices is not None and asked:
        return Guess(form=Form.CHAT, mapping=Mapping(input=tuple(asked[:1]), output=choices, how=how))
    answers = [name for name in _named(columns, _OUTPUTS) if _share(records, name, _is_answer) >= _MOST]
    if asked and answers:
        return Guess(
            form=Form.CHAT, mapping=Mapping(input=_question(asked[0], columns), output=answers[0], how=how)
        )
    if form is Form.TEXT and asked:
        return Guess(form=Form.TEXT, mapping=Mapping(text=asked[0], how=how))
    return _by_values(records, columns)


def _by_values(records: Sequence[JsonObject], columns: Sequence[str]) -> Guess | None:
    """Two columns without telling names: short values that come again are labels, and the other is text."""
    if len(columns) != 2 or len(records) < 4:
        return None
    labels = [name for name in columns if _are_labels([record.get(name) for record in records])]
    texts = [name for name in columns if name not in labels and _share(records, name, _is_text) >= _MOST]
    if len(labels) != 1 or len(texts) != 1:
        return None
    mapping = Mapping(
        input=(texts[0],), output=labels[0], how="guessed from the values: one column holds labels"
    )
    return Guess(form=Form.CHAT, mapping=mapping)


def _completed(
    found: Guess, given: Mapping, records: Sequence[JsonObject], columns: Sequence[str], name: str
) -> Guess:
    """The guess under what the user said, with what goes along by itself."""
    mapping = found.mapping
    asked = {field: getattr(given, field) for field in Mapping.__dataclass_fields__ if field != "how"}
    said = {field: value for field, value in asked.items() if value}
    if said.keys() & set(_ASKED):
        # Columns of a known form make no sense beside other columns.
        mapping = replace(mapping, how="given") if found.mapping.how in _FORMS else mapping
    mapping = replace(mapping, **said)
    if mapping.how in OPENAI or mapping.how == EXCHANGES:
        return Guess(form=found.form, mapping=mapping)
    if found.form in (Form.CHAT, Form.PREFERENCE) and not (mapping.messages or mapping.input):
        mapping = replace(mapping, input=tuple(_other_text(records, columns, mapping)))
    if found.form is Form.CHAT and not (mapping.messages or (mapping.input and mapping.output)):
        raise InvalidRequest(_sentence(records, columns, name))
    if found.form is Form.PREFERENCE and not (mapping.preferred and mapping.rejected):
        raise InvalidRequest(f"{name}: a pair needs both --preferred COLUMN and --rejected COLUMN.")
    if not (mapping.system or mapping.system_column):
        own = [column for column in _named(columns, _SYSTEMS) if _share(records, column, _is_text) > 0]
        mapping = replace(mapping, system_column=own[0] if own else None)
    if mapping.tools is None and "tools" in columns and found.form is not Form.TEXT:
        mapping = replace(mapping, tools="tools")
    return Guess(form=found.form, mapping=replace(mapping, left_out=_left_out(columns, mapping)))


def _other_text(records: Sequence[JsonObject], columns: Sequence[str], mapping: Mapping) -> list[str]:
    used = _used(mapping)
    return [
        name
        for name in _named(columns, _INPUTS)
        if name not in used and _share(records, name, _is_text) >= _MOST
    ][:1]


def _left_out(columns: Sequence[str], mapping: Mapping) -> tuple[str, ...]:
    used = _used(mapping)
    return tuple(column for column in columns if column not in used)


def _used(mapping: Mapping) -> set[str]:
    paths = [
        *mapping.input, *mapping.keep, mapping.output, mapping.messages, mapping.system_column, mapping.tools,
        mapping.preferred, mapping.rejected, mapping.text, mapping.each,
    ]  # fmt: skip
    named = {first_column(path) for path in paths if path}
    return named | {path.partition("[")[2].rstrip("]") for path in paths if path and "[" in path}


def _refuse_unknown(given: Mapping, records: Sequence[JsonObject], columns: Sequence[str], name: str) -> None:
    for path in sorted(_used(replace(given, each=None))):
        if path not in columns and not any(find(record, path) is not None for record in records):
            raise InvalidRequest(f"{name} has no column {path!r}: it has {_in_words(columns)}.")


def _sentence(records: Sequence[JsonObject], columns: Sequence[str], name: str) -> str:
    """What the columns are, and the options that would settle it."""
    has = f"{name} has {'the column' if len(columns) == 1 else 'the columns'} {_in_words(columns)}"
    if any(answer_of(record) is not None for record in records):
        return (
            f"{name} holds answers without the questions they were given to: put the request's `messages` "
            "beside each answer's `choices`."
        )
    pair = next((pair for pair in _PREFERRED if len(_named(columns, pair)) == 2), None)
    if pair is not None:
        better, _ = _named(columns, pair)
        return (
            f"{has}, pairs without the question they answer: name it with --input COLUMN, or learn the "
            f"better half as plain text with --text {quote(better)}."
        )
    hint = next(_suggestions(records, columns), "--input COLUMN --output COLUMN")
    if len(columns) == 1 and "COLUMN" in hint:
        only = columns[0]
        return (
            f"{name} has only the column {only} and so no answers: as plain text it is --text {quote(only)}."
        )
    return f"{has}: say which is the question and which the answer, for example {hint}."


def _suggestions(records: Sequence[JsonObject], columns: Sequence[str]) -> Iterator[str]:
    """Options that would work, for rows that hold lists of objects."""
    first = records[0] if records else {}
    answers = [*_named(columns, _OUTPUTS), *(name for name in columns if name.lower().startswith("answer"))]
    for path, items in _lists_of_objects(first):
        inside = list(items[0])
        asked = _named(inside, _INPUTS)
        if not asked:
            continue
        answered = [name for name in _named(inside, _OUTPUTS) if name != asked[0]] or answers
        if answered:
            value = find({**first, **items[0]}, answered[0])
            output = f"{answered[0]}.0" if isinstance(value, list) else answered[0]
            yield f"--each {quote(path)} --input {quote(asked[0])} --output {quote(output)}"
        else:
            yield f"--input {quote(f'{path}.{asked[0]}')} --output {quote(path)}"
    asked = [name for name in _named(columns, _INPUTS) if _share(records, name, _is_text) >= _MOST]
    texts = [name for name in columns if _share(records, name, _is_text) >= _MOST]
    others = [name for name in [*answers, *texts[::-1]] if name not in asked[:1]]
    if texts and others:
        yield f"--input {quote((asked or texts)[0])} --output {quote(others[0])}"


def _lists_of_objects(record: JsonObject, prefix: str = "") -> Iterator[tuple[str, list[JsonObject]]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _lists_of_objects(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
            yield f"{prefix}{key}", value


def _in_words(columns: Sequence[str], most: int = 12) -> str:
    shown = [column[:40] for column in columns[:most]]
    if len(columns) > most:
        return f"{', '.join(shown)} and {len(columns) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _named(columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns of these names, whatever their case and spacing, in the order of the names."""
    spelled = {
        column.strip().lower().replace(" ", "_").replace("-", "_"): column for column in reversed(columns)
    }
    return [spelled[name] for name in names if name in spelled]


def _question(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    beside = _named(columns, _BESIDE.get(name.lower(), ()))
    return (name, *beside[:1])


def _multiple_choice(records: Sequence[JsonObject], columns: Sequence[str]) -> str | None:
    for choices in _named(columns, _CHOICES):
        for index in _named(columns, _INDICES):
            path = f"{choices}[{index}]"
            if all(isinstance(find(record, path), str) for record in records):
                return path
    return None


def _share(records: Sequence[JsonObject], name: str, test: Any) -> float:
    return sum(bool(test(record.get(name))) for record in records) / max(len(records), 1)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_answer(value: Any) -> bool:
    return _is_text(value) or isinstance(value, bool | int)


def _is_conversation(value: Any) -> bool:
    return looks_like_turns(value)


def _holds_its_question(value: Any) -> bool:
    return looks_like_turns(value) or (isinstance(value, str) and spoken(value) is not None)


def _are_labels(values: Sequence[Any]) -> bool:
    if not all(isinstance(value, str | int) and len(str(value)) <= _MAX_LABEL for value in values):
        return False
    return 2 * len(set(values)) <= len(values)
