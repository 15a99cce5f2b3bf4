"""Classes: evened out, and held out in the same shares."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import cycle, islice
from typing import Final

from tailor.data.fixing.choices import Balance
from tailor.data.fixing.drafts import Draft, hash_of
from tailor.data.fixing.parts import SHORT_ANSWER, answer_in
from tailor.errors import InvalidRequest

_MIN_ROWS_PER_CLASS: Final = 2


def classes_of(draft: Draft) -> list[str]:
    """The class of every row: its answer, where answers are labels; one class for all where they are not."""
    answers = [answer_in(row) for row in draft]
    labels = [answer for answer in answers if answer is not None and len(answer) <= SHORT_ANSWER]
    if len(labels) < len(answers) or len(labels) < _MIN_ROWS_PER_CLASS * len(set(labels)):
        return [""] * len(answers)
    return labels


def cap(draft: Draft, wanted: Balance, *, seed: int) -> None:
    """Keep no more rows of a class than wanted; which ones is a function of the seed and their content."""
    places_of = _by_class(draft)
    most = wanted.num_rows or min(map(len, places_of.values()))
    reasons: dict[int, str] = {}
    for label, places in places_of.items():
        if len(places) <= most:
            continue
        drawn = sorted(places, key=lambda place: _draw(seed, hash_of(draft[place]), place))
        said = f"the class {label[:40]!r} has {len(places)} rows, and {most} are kept"
        reasons.update(dict.fromkeys(drawn[most:], said))
    draft.drop(reasons, step="balance")


def upsample(draft: Draft, wanted: Balance) -> None:
    """Repeat rows of a class, in their order, until it has as many as wanted."""
    places_of = _by_class(draft)
    least = wanted.num_rows or max(map(len, places_of.values()))
    for label in sorted(places_of):
        places = places_of[label]
        missing = least - len(places)
        if missing > 0:
            said = f"the class {label[:40]!r} has {len(places)} rows, and is filled up to {least}"
            draft.copy(islice(cycle(places), missing), step="balance", reason=said)


def _by_class(draft: Draft) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for place, row in enumerate(draft):
        label = answer_in(row)
        if label is None or len(label) > SHORT_ANSWER:
            raise InvalidRequest(
                "There are no classes to balance: "
                f"line {draft.line(place)} is not answered by a label of at most {SHORT_ANSWER} characters.",
                remedy="Leave --balance out.",
            )
        places.setdefault(label, []).append(place)
    return places


def quotas(counts: Counter[str], share: float) -> dict[str, int]:
    """How many of each class to hold out: together the share of all, each as near to its own as can be."""
    exact = {label: share * count for label, count in counts.items()}
    taken = {label: int(value) for label, value in exact.items()}
    left = round(share * counts.total()) - sum(taken.values())
    for label in sorted(exact, key=lambda label: (taken[label] - exact[label], label))[:left]:
        taken[label] += 1
    return taken


def _draw(seed: int, content: str, place: int) -> tuple[bytes, int]:
    return hashlib.sha256(f"{seed}:{content}".encode()).digest(), place
