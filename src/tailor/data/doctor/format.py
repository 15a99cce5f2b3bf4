"""How answers are written: what nearly all have in common, and the few that break it.

A model learns quirks as faithfully as content. What is a quirk depends on the others: a full stop after a
label, an answer without one among sentences, JSON in a code fence among bare JSON.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tailor.data.doctor.columns import Columns
from tailor.data.doctor.corpus import Corpus, counts_of
from tailor.data.doctor.findings import Evidence, advice, counted, finding
from tailor.data.doctor.options import Options
from tailor.data.problems import Problem

_PREFIX: Final = re.compile(
    r"\W{0,3}(?:(?:the |final |my |correct )*(?:answer|response|output|label|category|class|intent|result"
    r"|sql|query|json|solution|assistant|bot|ai|a)(?: is)?)\W{0,2}\s*[:\u2013-]\W{0,3}\s*",
    re.IGNORECASE,
)
_FENCE: Final = re.compile(r"\s*```[\w-]*\s*\n?(.*?)\s*```\s*$", re.DOTALL)
_QUOTES: Final = ('"', "'", "`", "\u201c", "\u201d", "\u2018", "\u2019", "*")
_HTML: Final = re.compile(
    r"</(?:p|div|span|a|b|i|li|ul|ol|table|td|h\d|br)>|<br ?/?>|&(?:nbsp|amp|lt|gt|quot|#39);"
)
_NUMBER: Final = re.compile(r"[-+]?[$\u20ac\u00a3]?\d[\d,. ]*%?")
_BULLET: Final = re.compile(r"\s*(?:[-*\u2022]|\d+[.)])\s")
_ENDINGS: Final = (".", "!", "?", "\u2026", '."', '!"', '?"', "\u3002", "\uff01", "\uff1f")
_LEAST: Final = 20
"""Answers that it takes to speak of a majority."""

_JSON_SHARE: Final = 0.8


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that an answer has or has not."""

    name: str
    """For programs: the code of a finding is `format_` and this."""

    words: str
    """What an answer with it does, after 'the answer'."""

    has: Callable[[str], bool]
    """Whether a text, which is not empty, has it."""

    must: float | None
    """Share from which on all answers must have it; None: having it is never a must."""

    may: float
    """Share up to which having it is a quirk; 0: never."""


FEATURES: Final = (
    Feature("space_before", "starts with white space", lambda text: text[0].isspace(), 0.9, 0.1),
    Feature("space_after", "ends with white space", lambda text: text[-1].isspace(), 0.9, 0.1),
    Feature("fence", "is in a code fence", lambda text: text.lstrip().startswith("```"), 0.9, 0.1),
    Feature("quotes", "is in quotation marks", lambda text: _is_quoted(text.strip()), 0.9, 0.1),
    Feature("prefix", "opens with a word like 'Answer:'", lambda text: bool(_PREFIX.match(text)), 0.9, 0.1),
    Feature("object", "is a JSON object", lambda text: text.lstrip().startswith("{"), None, 0),
    Feature("list", "is a JSON list", lambda text: text.lstrip().startswith("["), None, 0),
    Feature("thinking", "thinks aloud in tags", lambda text: "<think" in text[:200], 0.9, 0.1),
    Feature("markup", "holds HTML", lambda text: _HTML.search(text) is not None, 0.97, 0.01),
    Feature("last_mark", "marks its last line with '####'", lambda text: "\n####" in text, 0.95, 0.01),
    Feature("semicolon", "ends with a semicolon", lambda text: text.rstrip().endswith(";"), 0.95, 0.01),
    Feature("full_stop", "ends with a full stop", lambda text: text.rstrip()[-1:] in _ENDINGS, 0.985, 0.015),
    Feature("capital", "starts with a capital", lambda text: text.lstrip()[:1].isupper(), 0.985, 0.015),
    Feature("shouting", "is all in capitals", lambda text: text.isupper() and len(text) > 3, 0.97, 0.02),
    Feature("lines", "has several lines", lambda text: "\n" in text.strip(), 0.985, 0.01),
    Feature("number", "is a number", lambda text: _NUMBER.fullmatch(text.strip()) is not None, 0.97, 0),
    Feature("list_marks", "is a list with bullets", lambda text: _BULLET.match(text) is not None, 0.97, 0.01),
)
"""In the order of their bits."""


def features_of(answer: str) -> int:
    """The features of an answer, as bits."""
    if not answer:
        return 0
    return sum(1 << bit for bit, feature in enumerate(FEATURES) if feature.has(answer))


def plain_label(answer: str) -> str:
    """An answer as a label, its spelling set aside: `"Spam."`, `Label: spam` and `spam` are one."""
    text = answer.strip()
    if len(text) > 200:
        return text
    if fenced := _FENCE.match(text):
        text = fenced[1]
    if text[:1] not in "{[" and (prefix := _PREFIX.match(text)) and prefix.end() < len(text):
        text = text[prefix.end() :]
    text = text.strip(" \t\r\n.!\"'`*\u201c\u201d\u2018\u2019").casefold()
    return " ".join(re.split(r"[\s_-]+", text)) or answer.strip().casefold()


def find_spellings(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """One class written in several ways."""
    if corpus.task.kind != "classification":
        return
    facts = corpus.facts
    problems: list[Problem] = []
    places = np.flatnonzero(facts.answer_chars > 0)
    stripped = {place: corpus.answers[place].strip() for place in _one_of_each(facts.answer).tolist()}
    spelled = first_of_values(facts.answer)
    usual: dict[int, tuple[str, int]] = {}
    votes: dict[int, Counter[str]] = defaultdict(Counter)
    for first, count in counts_of(facts.answer):
        votes[int(facts.label[first])][stripped[first]] += count
    for label, spellings in votes.items():
        usual[label] = spellings.most_common(1)[0]
    remedy = "Write one answer in one way."
    for place in places.tolist():
        written = stripped[int(spelled[place])]
        expected, _ = usual[int(facts.label[place])]
        if written != expected:
            said = f"the answer is written {written[:60]!a} here and {expected[:60]!a} elsewhere."
            problems.append(advice(corpus.line(place), "mixed_spelling", said, remedy))
    yield from finding(
        problems,
        title="One class, several spellings",
        message=f"{counted(len(problems), 'answer')} written otherwise than usual for the class.",
        why="The model takes each spelling for a class of its own, and your code may know only one.",
        remedy=remedy,
        total=len(corpus),
        badness=8,
    )


def find_format_breaks(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Answers that are written otherwise than nearly all others."""
    if corpus.task.kind in ("text", "reinforcement"):
        return
    facts = corpus.facts
    places = np.flatnonzero((facts.answer_chars > 0) & ~facts.calls_tools)
    if not len(places):
        return
    features = facts.features[places]
    for bit, feature in enumerate(FEATURES):
        has = (features >> bit) & 1 == 1
        share = float(has.mean())
        if share and share <= feature.may and (len(places) >= _LEAST or bit < 2):
            yield from _break(corpus, places[has], feature, lacks=False, share=share)
        elif feature.must and feature.must <= share < 1 and len(places) >= _LEAST:
            if bit < 2:
                yield from _everywhere(corpus, places[has], feature)
            yield from _break(corpus, places[~has], feature, lacks=True, share=share)
        elif bit < 2 and share > 0:
            yield from _everywhere(corpus, places[has], feature)


def find_broken_json(corpus: Corpus, options: Options) -> Iterator[Evidence]:
    """Where answers are JSON: those that do not parse, and those with other keys or types than nearly all."""
    if corpus.task.kind != "extraction":
        return
    shapes = Shapes()
    places = np.flatnonzero((corpus.facts.answer_chars > 0) & ~corpus.facts.calls_tools).tolist()
    broken: list[Problem] = []
    remedy = "Write the answer with a JSON library."
    for place in places:
        try:
            shapes.add(_parsed(corpus.answers[place]))
        except ValueError as error:
            said = f"the answer is no JSON: {error}."
            broken.append(advice(corpus.line(place), "broken_json", said, remedy))
    yield from finding(
        broken,
        title="Broken JSON",
        message=f"{counted(len(broken), 'answer')} of {len(places):,} cannot be parsed as JSON.",
        why="The model learns to write JSON that your code cannot read.",
        remedy=remedy,
        total=len(corpus),
        badness=10,
    )
    if len(places) - len(broken) < _LEAST:
        return
    odd: list[Problem] = []
    bad = {problem.line for problem in broken}
    for place in places:
        if corpus.line(place) in bad:
            continue
        oddity = next(shapes.oddities(_parsed(corpus.answers[place])), None)
        if oddity:
            odd.append(advice(corpus.line(place), "json_shape", oddity, "Give all answers the same shape."))
    yield from finding(
        odd,
        title="JSON of another shape",
        message=f"{counted(len(odd), 'answer')} with keys or types that nearly no other has.",
        why="The model learns a shape that your code does not expect.",
        remedy="Give all answers the same keys, each with one type.",
        total=len(corpus),
        badness=8,
    )


class Shapes:
    """Which keys and types stand where in the JSON of many answers; counts, so that blocks can be merged."""

    def __init__(self) -> None:
        self.places: Counter[str] = Counter()
        """How many objects or lists stand at a place."""
        self.members: dict[str, Counter[str]] = defaultdict(Counter)
        """At a place: how often each key."""
        self.types: dict[str, Counter[str]] = defaultdict(Counter)
        """At a place: how often each type."""

    def add(self, value: Any, place: str = "") -> None:
        """Count one value and all inside it."""
        self.types[place][_type_of(value)] += 1
        if isinstance(value, dict):
            self.places[place] += 1
            for key, item in value.items():
                self.members[place][key] += 1
                self.add(item, f"{place}.{key}" if len(self.types) < _MOST_PLACES else "...")
        elif isinstance(value, list):
            for item in value:
                self.add(item, f"{place}[]")

    def oddities(self, value: Any, place: str = "") -> Iterator[str]:
        """What nearly no other answer does, as sentences."""
        types = self.types[place]
        kind = _type_of(value)
        usual, count = types.most_common(1)[0] if types else (kind, 1)
        total = sum(types.values())
        where = f"at '{place.lstrip('.')}' " if place else ""
        if kind != usual and count >= _USUAL * total and kind != "null":
            yield f"{where}stands {kind}, where {usual} is usual."
            return
        if isinstance(value, dict):
            seen, members = self.places[place], self.members[place]
            # With many different keys the keys are data, not a schema.
            if len(members) <= max(30, seen // 10):
                for key, times in members.items():
                    if times >= _USUAL * seen and key not in value:
                        yield f"the key '{key}' is missing {where}".rstrip() + "."
                for key in value:
                    if members[key] <= (1 - _USUAL) * seen and seen >= _LEAST:
                        yield f"the key '{key}' {where}stands in nearly no other answer."
            for key, item in value.items():
                yield from self.oddities(item, f"{place}.{key}")
        elif isinstance(value, list):
            for item in value:
                yield from self.oddities(item, f"{place}[]")


_USUAL: Final = 0.985
_MOST_PLACES: Final = 5_000


def is_json(answer: str) -> bool:
    """Whether an answer is a JSON object or list."""
    if answer.lstrip()[:1] not in ("{", "["):
        return False
    try:
        _parsed(answer)
    except ValueError:
        return False
    return True


def first_of_values(column: Columns) -> Columns:
    """For each row the place of the first row with its value."""
    _, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])


def _one_of_each(column: Columns) -> Columns:
    return np.unique(column, return_index=True)[1]


def _parsed(answer: str) -> Any:
    try:
        value = json.loads(answer)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(value, dict | list):
        raise ValueError(f"it is {_type_of(value)}, not an object or a list")
    return value


def _type_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _break(
    corpus: Corpus, places: Columns, feature: Feature, *, lacks: bool, share: float
) -> Iterator[Evidence]:
    is_space = feature.name.startswith("space")
    code = "white_space" if is_space else f"format_{feature.name}"
    words = f"does not do what {share:.1%} do: it {feature.words}" if lacks else feature.words
    problems = []
    for place in places[:20].tolist():
        said = f"the answer {feature.words}, which nearly no other does."
        if lacks:
            said = f"nearly every answer {feature.words}; this one does not."
        if is_space and not lacks:
            shown = corpus.answers[place][-60:]
            said = f"the answer {shown!a} has white space around it, which would be learned."
        problems.append(advice(corpus.line(place), code, said, "Write all answers alike."))
    few = counted(len(places), "answer")
    yield from finding(
        problems,
        title="White space around answers" if is_space else f"Format: {feature.name.replace('_', ' ')}",
        message=f"Nearly every answer {feature.words} ({share:.1%}); {len(places):,} do not."
        if lacks
        else f"{few} of {len(corpus):,}: the answer {words}.",
        why="A model learns quirks as faithfully as content, and shows them now and then.",
        remedy="Remove it." if is_space else "Write all answers alike.",
        total=len(corpus),
        lines=corpus.lines(places),
        num_problems=len(places),
        badness=6 if is_space or feature.may >= 0.1 else 2,
    )


def _everywhere(corpus: Corpus, places: Columns, feature: Feature) -> Iterator[Evidence]:
    """White space that many answers have: a habit of older formats that is no longer wanted."""
    side = "before" if feature.name == "space_before" else "after"
    said = f"{len(places):,} of {len(corpus):,} answers have white space {side} them."
    yield from finding(
        [advice(None, "white_space", said, "Remove it.")],
        title="White space around answers",
        message=said,
        why="The space becomes part of every answer; a prompt that ends in a space then asks for two.",
        remedy="Remove it.",
        total=len(corpus),
        lines=corpus.lines(places),
        num_problems=len(places),
        badness=3,
    )


def _is_quoted(text: str) -> bool:
    return len(text) > 2 and text[0] in _QUOTES and text[-1] in _QUOTES and text[0] not in text[1:-1]
