"""One spelling for one answer: quirks that a model would learn as if they meant something."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tailor.data.doctor.format import plain_label
from tailor.data.fixing.drafts import Draft
from tailor.data.fixing.parts import SHORT_ANSWER, answer_in, with_answer
from tailor.protocol.strict import StrictJsonError, parse_strict

_STEP: Final = "normalise"
_PREFIX: Final = re.compile(
    r"\s*(?:answer|label|output|response|category|class|intent|result|completion)\s*(?:[:=]|->)\s*(?=\S)",
    re.I,
)
_FENCE: Final = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.S)


@dataclass(frozen=True, slots=True)
class _Usual:
    """How most answers are written. Every answer is made to follow, so that any part of the rows agrees."""

    spelling: dict[str, str]
    """Of every short answer: what it means -> how most rows write it."""

    orders: dict[frozenset[str], tuple[str, ...]]
    """Of objects with the same keys: the usual order of the keys."""

    prefix: str
    """Of long answers: a word like `Answer: ` that at least half of them begin with; empty if none is."""

    has_fence: bool
    """Whether most JSON stands in a Markdown fence."""


def normalise(draft: Draft) -> None:
    """Write answers as most of them are written: case, spaces and prefixes of labels; spaces; JSON."""
    usual = _usual(draft)
    for place in range(len(draft)):
        row = draft[place]
        answer = answer_in(row)
        if answer is None:
            continue
        better, reason = _rewritten(answer, usual)
        if "messages" not in row and better != answer:
            # A prompt and its completion are joined: the space between them belongs to the completion.
            better = answer[: len(answer) - len(answer.lstrip())] + better.lstrip()
        if better != answer and better.strip():
            draft.change(place, with_answer(row, better), step=_STEP, reason=reason)


def _rewritten(answer: str, usual: _Usual) -> tuple[str, str]:
    value = _json_in(answer)
    if value is not None:
        return _canonical(value, usual), "JSON in one spelling"
    bare = answer.strip()
    if _is_short(bare):
        return usual.spelling.get(plain_label(bare), bare), "the label as most rows spell it"
    prefix = _PREFIX.match(bare)
    rest = bare[prefix.end() :] if prefix else bare
    return usual.prefix + rest, "a long answer, begun and ended as most are"


def _usual(draft: Draft) -> _Usual:
    spellings: dict[str, Counter[str]] = {}
    orders: dict[frozenset[str], Counter[tuple[str, ...]]] = {}
    prefixes: Counter[str] = Counter()
    fenced: Counter[bool] = Counter()
    for answer in _answers(draft):
        value = _json_in(answer)
        bare = answer.strip()
        if value is not None:
            fenced[bool(_FENCE.fullmatch(answer))] += 1
            if isinstance(value, dict):
                orders.setdefault(frozenset(value), Counter())[tuple(value)] += 1
        elif _is_short(bare):
            spellings.setdefault(plain_label(bare), Counter())[bare] += 1
        else:
            found = _PREFIX.match(bare)
            prefixes[found[0] if found else ""] += 1
    without = prefixes.pop("", 0)
    return _Usual(
        spelling={meaning: _most(counts) for meaning, counts in spellings.items()},
        orders={keys: _most(counts) for keys, counts in orders.items()},
        prefix=_most(prefixes) if prefixes.total() > without else "",
        has_fence=fenced[True] > fenced[False],
    )


def _answers(draft: Draft) -> Iterator[str]:
    for row in draft:
        answer = answer_in(row)
        if answer is not None:
            yield answer


def _most(counts: Counter[Any]) -> Any:
    """The most frequent; of equally frequent ones always the same, whatever their order."""
    return min(counts, key=lambda value: (-counts[value], value))


def _is_short(answer: str) -> bool:
    return len(answer) <= SHORT_ANSWER and "\n" not in answer


def _json_in(answer: str) -> Any:
    """The object or list that an answer is, bare or in a fence; None for anything else."""
    fence = _FENCE.fullmatch(answer)
    text = fence[1] if fence else answer
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return parse_strict(text.encode())
    except (StrictJsonError, UnicodeEncodeError):
        return None


def _canonical(value: Any, usual: _Usual) -> str:
    if isinstance(value, dict):
        value = {key: value[key] for key in usual.orders[frozenset(value)]}
    written = json.dumps(value, ensure_ascii=False)
    return f"```json\n{written}\n```" if usual.has_fence else written
