"""From a source to a mended file: the steps in their order, again and again until none changes anything.

A step can make work for another: two rows are duplicates only once their personal data is gone. So the
steps are repeated until a whole round finds nothing to do, and that is also why mending what was mended
changes nothing. Then the validation part is divided off, and what is left for training is balanced: what
a model is judged by keeps the shares that the world has, and no repeated row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from tailor.data.examples import JsonObject
from tailor.data.fixing.choices import Choices
from tailor.data.fixing.classes import cap, upsample
from tailor.data.fixing.drafts import Draft
from tailor.data.fixing.holding import held_out
from tailor.data.fixing.lengths import divided, length_of, shortened
from tailor.data.fixing.personal import redact
from tailor.data.fixing.repeated import drop_duplicates, drop_near_duplicates, settle_contradictions
from tailor.data.fixing.soundness import drop_invalid
from tailor.data.fixing.spelling import normalise
from tailor.data.rows import Form, Row, Source
from tailor.errors import Internal, InvalidRequest

_MAX_ROUNDS: Final = 50
_ROW_BY_ROW: Final = frozenset({"redact", "truncate", "split_long", "drop_invalid"})
"""Steps that look at one row at a time: rows that have gone give them nothing new to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """What is being done."""

    name: str
    """The choice, or `reading`."""

    num_rows: int
    """Rows that are left."""

    position: int = 0
    """Bytes read, while reading."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fixed:
    """What was done."""

    num_read: int
    """Rows that were read."""

    num_unread: int
    """Lines that gave no row."""

    num_rows: int
    """Rows that were written."""

    num_held_out: int
    """Rows in the validation file."""

    counts: dict[str, int]
    """Changes by choice and action: `drop_duplicates dropped`."""

    sha256: str
    """Of the file that was written."""

    validation_sha256: str | None
    """Of the validation file."""


def fix(
    source: Source, choices: Choices, *, out: BinaryIO, log: BinaryIO, validation: BinaryIO | None = None
) -> Iterator[Step | Fixed]:
    """Mend a source; says what it is doing, and at the end what it did.

    Args:
        source: What to read; it is never written to.
        choices: What to mend.
        out: Takes the rows.
        log: Takes a line for every row that was changed, dropped, copied or moved.
        validation: Takes the rows of the validation part, with `choices.split`.

    Raises:
        InvalidRequest: What was asked for cannot be done with these rows.
    """
    draft = Draft(log)
    try:
        yield from _read(draft, source)
        num_read, num_unread = len(draft), draft.num_changes
        repairs = _Repairs(draft, choices, source.form)
        yield from repairs.settle()
        held: list[int] = []
        validation_sha256 = None
        if choices.split is not None and validation is not None:
            yield Step(name="split", num_rows=len(draft))
            held = held_out(draft, share=choices.split, threshold=choices.similarity, seed=choices.seed)
            validation_sha256 = draft.write(validation, held)
            draft.drop(dict.fromkeys(held, "held out for validation"), step="split", action="moved")
        yield from _balanced(draft, repairs, choices)
        yield Fixed(
            num_read=num_read,
            num_unread=num_unread,
            num_rows=len(draft),
            num_held_out=len(held),
            sha256=draft.write(out),
            validation_sha256=validation_sha256,
            counts=dict(draft.counts),
        )
    finally:
        draft.close()


def _read(draft: Draft, source: Source) -> Iterator[Step]:
    for item in source.rows():
        if isinstance(item, Row):
            draft.add(item)
        elif item.severity == "blocking":
            draft.unread(item, source.name)
        if (len(draft) + draft.num_changes) % 1000 == 0:
            yield Step(name="reading", num_rows=len(draft), position=source.position)
    if not len(draft):
        raise InvalidRequest(f"{source.name} holds no rows that can be read.")


class _Repairs:
    """The steps that were chosen, taken until none of them changes anything."""

    def __init__(self, draft: Draft, choices: Choices, form: Form) -> None:
        self._draft = draft
        self._steps = list(_steps(choices, form))
        self._seen: dict[str, int] = {}

    def add(self, name: str, step: Callable[[Draft], None]) -> None:
        """Take one more step from now on, after all others."""
        self._steps.append((name, step))

    def settle(self) -> Iterator[Step]:
        """Take the steps until a whole round changes nothing."""
        draft = self._draft
        for _ in range(_MAX_ROUNDS):
            before = draft.num_changes
            for name, step in self._steps:
                if name in _ROW_BY_ROW and self._seen.get(name) == draft.num_rewritten:
                    continue  # it has seen every row as it is now
                yield Step(name=name, num_rows=len(draft))
                self._seen[name] = draft.num_rewritten
                step(draft)
                if not len(draft):
                    raise InvalidRequest(f"Nothing is left after {name}.", remedy="Choose less.")
            if draft.num_changes == before:
                return
        names = ", ".join(name for name, _ in self._steps)
        raise Internal(f"The steps undo each other: {names} never settle.")


def _steps(choices: Choices, form: Form) -> Iterator[tuple[str, Callable[[Draft], None]]]:
    near = choices.similarity
    settled = choices.contradictions
    if choices.normalise:
        yield "normalise", normalise
    if choices.redact:
        yield "redact", lambda draft: redact(draft, choices.redact)
    if choices.truncate is not None or choices.split_long is not None:
        yield "truncate" if choices.truncate else "split_long", lambda draft: _fit(draft, choices)
    if choices.drop_invalid:
        yield "drop_invalid", lambda draft: drop_invalid(draft, form)
    if choices.drop_duplicates:
        yield "drop_duplicates", drop_duplicates
    if choices.near_duplicates:
        yield "near_duplicates", lambda draft: drop_near_duplicates(draft, threshold=near)
    if settled is not None:
        yield "contradictions", lambda draft: settle_contradictions(draft, settled, threshold=near)


def _balanced(draft: Draft, repairs: _Repairs, choices: Choices) -> Iterator[Step]:
    balance = choices.balance
    if balance is not None and balance.how == "cap":
        repairs.add("balance", lambda draft: cap(draft, balance, seed=choices.seed))
    # What was held out, and what a cap drops, may have stood between two rows that contradict each other.
    if choices.split is not None or balance is not None:
        yield from repairs.settle()
    if balance is not None and balance.how == "upsample":
        yield Step(name="balance", num_rows=len(draft))
        upsample(draft, balance)


def _fit(draft: Draft, choices: Choices) -> None:
    """Shorten or divide what is too long; leave out what cannot be."""
    most = choices.truncate or choices.split_long or 0
    unit = choices.measure.unit
    step = "truncate" if choices.truncate is not None else "split_long"
    dropped: dict[int, str] = {}
    parts: dict[int, Sequence[JsonObject]] = {}
    for place in range(len(draft)):
        row = draft[place]
        length = length_of(row, choices.measure)
        if length <= most:
            continue
        if choices.truncate is not None:
            better = shortened(row, most, choices.measure)
            if better is None:
                dropped[place] = f"{length} {unit}, and what is learned alone is more than {most}"
            else:
                draft.change(place, better, step=step, reason=f"shortened from {length} to {most} {unit}")
        elif (made := divided(row, most, choices.measure)) is not None:
            parts[place] = made
        else:
            dropped[place] = f"{length} {unit}, and it cannot be divided into parts of {most}"
    draft.divide(parts, step=step, reason=f"divided into parts of at most {most} {unit}")
    if parts and dropped:
        return  # places have moved; the next round drops what cannot be divided
    draft.drop(dropped, step=step)
