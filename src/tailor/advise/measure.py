"""How answers are judged: by what the expected ones look like, or as the user says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from tailor.data.doctor import Item
from tailor.data.doctor.format import plain_label
from tailor.data.doctor.task import LABEL_CHARACTERS
from tailor.grading import similarity

MeasureKind = Literal["classification", "extraction", "tool calls", "exact", "text"]
KINDS: Final[tuple[str, ...]] = get_args(MeasureKind)

_COPIED: Final = 0.8

LABEL_KEY: Final = "label"
"""The only key of a class that is answered as JSON."""

_SAYS: Final[dict[MeasureKind, str]] = {
    "classification": "the right label; case, spacing and punctuation at its ends do not count",
    "extraction": "fields of the JSON that are right (F1 over key and value)",
    "tool calls": "the same functions with equal arguments",
    "exact": "the expected text, spacing aside",
    "text": "likeness to the expected answer (ROUGE-L, F1 over words in order)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measure:
    """How an answer is scored, from 0 to 1."""

    kind: MeasureKind
    """What is answered."""

    labels: tuple[str, ...] = ()
    """The classes as they are mostly written, the most frequent first."""

    @property
    def is_pass_or_fail(self) -> bool:
        """Whether a score is 0 or 1 and nothing between."""
        return self.kind in ("classification", "tool calls", "exact")

    @property
    def sentence(self) -> str:
        """For people: what counts as right."""
        return _SAYS[self.kind]

    @property
    def unit(self) -> str:
        """For people: what a score is a share of."""
        return {"extraction": "fields right", "text": "likeness"}.get(self.kind, "right")

    def __str__(self) -> str:
        if self.kind == "classification":
            return f"classification with {len(self.labels):,} labels"
        return {"extraction": "extraction to JSON", "exact": "answers with one right wording",
                "tool calls": "calling tools", "text": "free text"}[self.kind]  # fmt: skip

    def score(self, answer: str, reference: str) -> float:
        """How right an answer is."""
        match self.kind:
            case "classification":
                return float(plain_label(_unwrapped(answer)) == plain_label(reference))
            case "extraction":
                return _field_f1(_json_in(answer), _json_in(reference))
            case "tool calls":
                return float(_calls_in(answer) == _calls_in(reference))
            case "exact":
                return float(answer.split() == reference.split())
            case "text":
                return similarity("rouge_l", answer, reference)

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {"kind": self.kind, "labels": list(self.labels), "counts_as_right": self.sentence}


def measure_of(items: Sequence[Item], *, kind: MeasureKind | None = None) -> Measure:
    """What the answers of a file are, by the answers themselves; or as the user says."""
    kind = kind or _kind_of(items)
    if kind != "classification":
        return Measure(kind=kind)
    spellings: dict[str, Counter[str]] = {}
    for item in items:
        spellings.setdefault(plain_label(item.answer), Counter())[item.answer.strip()] += 1
    ordered = sorted(spellings.items(), key=lambda pair: (-pair[1].total(), pair[0]))
    return Measure(kind=kind, labels=tuple(counts.most_common(1)[0][0] for _, counts in ordered))


def _kind_of(items: Sequence[Item]) -> MeasureKind:
    count = len(items)
    if sum(item.calls_tools for item in items) >= 0.5 * count:
        return "tool calls"
    labels = Counter(plain_label(item.answer) for item in items)
    is_short = sum(len(item.answer.strip()) <= LABEL_CHARACTERS for item in items) >= 0.95 * count
    is_shared = sum(times for times in labels.values() if times > 1) >= 0.8 * count
    if is_short and is_shared and len(labels) <= max(count / 4, 8):
        return "classification"
    if sum(isinstance(_json_in(item.answer), dict | list) for item in items) >= 0.8 * count:
        return "extraction"
    return "exact" if is_copied(items) else "text"


def is_copied(items: Sequence[Item]) -> bool:
    """Whether most answers stand in what is asked."""
    copied = sum(item.answer.strip().casefold() in item.asked.casefold() for item in items)
    return copied >= _COPIED * len(items)


def _unwrapped(answer: str) -> str:
    """The label in an answer that was forced into JSON."""
    value = _json_in(answer) if answer.lstrip()[:1] in ("{", "`") else None
    if isinstance(value, dict) and isinstance(value.get(LABEL_KEY), str):
        return str(value[LABEL_KEY])
    return answer


def _json_in(text: str) -> Any:
    """The JSON that a text is, in a fence or not; None where it is none."""
    bare = text.strip()
    if bare.startswith("```"):
        bare = bare.strip("`").removeprefix("json").strip()
    try:
        return json.loads(bare)
    except (ValueError, RecursionError):
        return None


def _calls_in(text: str) -> Any:
    """Calls as the data doctor writes them: a list of name and arguments, each compared as JSON."""
    calls = _json_in(text[text.find("[") :] if "[" in text else text)
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        return text.strip()
    return [(call.get("name"), _json_in(str(call.get("arguments")))) for call in calls]


def _field_f1(found: Any, wanted: Any) -> float:
    if found is None:
        return 0.0
    here, there = Counter(_leaves(found)), Counter(_leaves(wanted))
    shared = (here & there).total()
    total = here.total() + there.total()
    return 1.0 if total == 0 else 2 * shared / total


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, value) of every value that holds no others; the order of a list does not count."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from _leaves(inside, f"{path}.{key}")
    elif isinstance(value, list):
        for inside in value:
            yield from _leaves(inside, f"{path}[]")
    else:
        shown = " ".join(value.split()).casefold() if isinstance(value, str) else json.dumps(value)
        yield path, shown
