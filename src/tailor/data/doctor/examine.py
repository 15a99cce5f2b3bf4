"""Items to a corpus: every fact of every example, block by block.

`facts_of` is a function of one block alone, so a distributed engine can map it over blocks and merge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Final

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.corpus import Corpus, Facts, Item, Table, Texts
from tailor.data.doctor.format import features_of, is_json, plain_label
from tailor.data.doctor.items import said_in
from tailor.data.doctor.languages import language_of
from tailor.data.doctor.options import Options, TokenCount
from tailor.data.doctor.personal import kinds_of
from tailor.data.doctor.refusals import manner_of
from tailor.data.doctor.similar import band_keys
from tailor.data.doctor.task import LABEL_CHARACTERS, Kind, Task
from tailor.data.doctor.tools import flaws_of
from tailor.data.doctor.wording import loose_key
from tailor.data.examples import canonical_json
from tailor.data.rows import Form

BLOCK: Final = 2_048
"""Examples of a block."""

_MOST_SYSTEMS: Final = 1_000
_JSON_SAMPLE: Final = 500


def examine(
    items: Iterable[Item], *, name: str, form: Form, options: Options, thorough: bool = True
) -> Corpus:
    """The corpus of a stream of items; texts go to disk, only facts stay.

    Not thorough leaves out what only the slower checks need: likeness and languages.
    """
    asked, answers, rejected, conversations = Texts(), Texts(), Texts(), Texts()
    systems: dict[int, str] = {}
    files: dict[str, int] = {}
    table = Table()
    for block in _blocks(items):
        facts = facts_of(block, files=files, options=options, thorough=thorough)
        table.extend(facts)
        asked.extend(item.asked for item in block)
        answers.extend(item.answer for item in block)
        rejected.extend(item.rejected or "" for item in block)
        conversations.extend(
            canonical_json({"messages": item.messages, "tools": item.tools}) if flawed else ""
            for item, flawed in zip(block, facts.tools.tolist(), strict=True)
        )
        for item in block:
            if item.system is not None and len(systems) < _MOST_SYSTEMS:
                systems.setdefault(hash_of(item.system), item.system)
    table.extend(facts_of([], files=files, options=options, thorough=thorough))
    facts = table.facts()
    return Corpus(
        name=name,
        files=tuple(files) or (name,),
        task=task_of(form, facts, answers),
        table=table,
        facts=facts,
        asked=asked,
        answers=answers,
        rejected=rejected,
        conversations=conversations,
        systems=systems,
    )


def facts_of(items: Sequence[Item], *, files: dict[str, int], options: Options, thorough: bool) -> Facts:
    """The facts of one block. `files` gives each file its number, and learns new ones."""
    tokens, learnt = _tokens(items, options.tokens)
    asked = [item.asked or item.answer for item in items]
    return Facts(
        line=_column([item.line for item in items], np.uint32),
        file=_column([files.setdefault(item.file, len(files)) for item in items], np.uint16),
        example=_column([int(item.fingerprint[:16], 16) for item in items], np.uint64),
        prompt=_column([int(item.prompt_key[:16], 16) for item in items], np.uint64),
        loose=_column([hash_of(loose_key(text)) for text in asked], np.uint64),
        answer=_column([hash_of(item.answer) for item in items], np.uint64),
        label=_column([hash_of(plain_label(item.answer)) for item in items], np.uint64),
        system=_column([0 if item.system is None else hash_of(item.system) for item in items], np.uint64),
        has_question=_column([item.has_question for item in items], np.bool_),
        question_chars=_column([len(item.question.strip()) for item in items], np.uint32),
        answer_chars=_column([len(item.answer.strip()) for item in items], np.uint32),
        tokens=_column(tokens, np.uint32),
        answer_tokens=_column(learnt, np.uint32),
        num_answers=_column([min(item.num_answers, 255) for item in items], np.uint8),
        calls_tools=_column([item.calls_tools for item in items], np.bool_),
        features=_column([features_of(item.answer) for item in items], np.uint32),
        manner=_column([manner_of(item.answer) for item in items], np.uint8),
        personal=_column([kinds_of(f"{item.asked}\n{item.answer}") for item in items], np.uint16),
        tools=_column([flaws_of(item.messages, item.tools) for item in items], np.uint8),
        asked_language=_column([language_of(item.asked) if thorough else b"" for item in items], "S3"),
        answer_language=_column([language_of(item.answer) if thorough else b"" for item in items], "S3"),
        bands=tuple(band_keys(asked, threshold=options.near).T) if thorough else (),
    )


def task_of(form: Form, facts: Facts, answers: Sequence[str]) -> Task:
    """What a file teaches, by its answers."""
    fixed: dict[Form, Kind] = {
        Form.PREFERENCE: "preference",
        Form.REINFORCEMENT: "reinforcement",
        Form.TEXT: "text",
    }
    count = len(facts)
    has_turns = count > 0 and float((facts.num_answers > 1).mean()) > 0.5
    if form in fixed or not count:
        return Task(kind=fixed.get(form, "free answers"), has_turns=has_turns)
    if facts.calls_tools.mean() >= 0.5:
        return Task(kind="tool calls", has_turns=has_turns)
    _, inverse, times = np.unique(facts.label, return_inverse=True, return_counts=True)
    is_short = facts.answer_chars <= LABEL_CHARACTERS
    if (
        count > 1
        and is_short.mean() >= 0.95
        and (times[inverse] > 1).mean() >= 0.8
        and _is_shared(times, count)
    ):
        return Task(kind="classification", num_labels=len(times), has_turns=has_turns)
    step = max(1, count // _JSON_SAMPLE)
    places = [place for place in range(0, count, step) if not facts.calls_tools[place]]
    if places and sum(is_json(answers[place]) for place in places) >= 0.8 * len(places):
        return Task(kind="extraction", has_turns=has_turns)
    return Task(kind="free answers", has_turns=has_turns)


def hash_of(text: str) -> int:
    """A 64-bit hash that is the same everywhere, and never 0."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little") or 1


def _is_shared(times: Columns, count: int) -> bool:
    """Whether few enough different answers stand for many examples to be classes."""
    return bool(len(times) <= max(count / 4, 8))


def _column(values: Sequence[object], dtype: object) -> Columns:
    return np.array(values, dtype=dtype)  # type: ignore[call-overload, no-any-return]


def _tokens(items: Sequence[Item], tokens: TokenCount) -> tuple[list[int], list[int]]:
    """Of each item: all tokens, and those of its answers."""
    learnt = [
        item.answer if item.num_answers == 1 or not item.messages else _all_answers(item) for item in items
    ]
    counts = tokens.count([*learnt, *[_rest(item) for item in items]])
    systems = {item.system for item in items if item.system}
    tools = {canonical_json(list(item.tools)) for item in items if item.tools}
    shared = [*systems, *tools]
    of_shared = dict(zip(shared, tokens.count(shared), strict=True)) if shared else {}
    total = [
        counts[place]
        + counts[len(items) + place]
        + (of_shared[item.system] if item.system else 0)
        + (of_shared[canonical_json(list(item.tools))] if item.tools else 0)
        + tokens.per_message * len(item.messages)
        for place, item in enumerate(items)
    ]
    return total, list(counts[: len(items)])


def _all_answers(item: Item) -> str:
    return "\n".join(
        said_in(message)
        for message in item.messages
        if message["role"] == "assistant" and message.get("weight") != 0
    )


def _rest(item: Item) -> str:
    if item.num_answers <= 1:
        return item.asked
    others = (message for message in item.messages if message["role"] not in ("system", "developer"))
    return "\n".join(
        said_in(message) for message in others if message["role"] != "assistant" or message.get("weight") == 0
    )


def _blocks(items: Iterable[Item]) -> Iterator[list[Item]]:
    iterator = iter(items)
    while block := list(islice(iterator, BLOCK)):
        yield block
