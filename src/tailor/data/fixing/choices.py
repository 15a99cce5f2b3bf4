"""What is to be mended: nothing is unless it is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from tailor.data.fixing.lengths import Characters, Measure
from tailor.errors import InvalidRequest


class Contradictions(StrEnum):
    """What becomes of rows that ask the same and are answered differently."""

    KEEP_FIRST = "keep-first"
    """The first answer is right."""

    KEEP_MAJORITY = "keep-majority"
    """The most frequent answer is right; the first of equally frequent ones."""

    DROP = "drop"
    """None of them is to be trusted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Balance:
    """How many rows a class may have, or must have."""

    how: str
    """`cap`: no class has more; `upsample`: rows of smaller classes are repeated until they have as many."""

    num_rows: int | None = None
    """None: as many as the smallest class (cap) or the largest (upsample)."""

    def __post_init__(self) -> None:
        if self.how not in ("cap", "upsample"):
            raise InvalidRequest(
                f"There is no way {self.how[:40]!r} to balance.",
                remedy="Say cap, cap=N, upsample or upsample=N.",
            )
        if self.num_rows is not None and self.num_rows < 1:
            raise InvalidRequest("A class must have at least one row.", remedy="Say a number from 1.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Choices:
    """The mending that was asked for; the steps are taken in this order."""

    normalise: bool = False
    """Give the same answer one spelling: case, spaces, prefixes, JSON."""

    redact: frozenset[str] = frozenset()
    """Kinds of personal data to replace by their names, such as `[EMAIL]`."""

    truncate: int | None = None
    """Shorten examples to this length: oldest turns first, then the question; answers are never cut."""

    split_long: int | None = None
    """Cut longer conversations and texts into several of at most this length."""

    measure: Measure = field(default_factory=Characters)
    """What lengths are counted in."""

    drop_invalid: bool = False
    """Leave out rows that could not be trained on."""

    drop_duplicates: bool = False
    """Keep the first of rows that are the same."""

    near_duplicates: bool = False
    """Keep the first of rows that ask nearly the same and are answered alike."""

    contradictions: Contradictions | None = None
    """What to do with different answers to one question."""

    balance: Balance | None = None
    """How to even out classes."""

    split: float | None = None
    """Share of the examples for a validation file."""

    similarity: float = 0.8
    """How alike two texts must be to be near duplicates, from 0 to 1."""

    seed: int = 0
    """Of the split and of what a cap keeps."""

    def __post_init__(self) -> None:
        if self.truncate is not None and self.split_long is not None:
            raise InvalidRequest(
                "Long examples are either shortened or cut into several.", remedy="Say one of the two."
            )
        for name, length in (("truncate", self.truncate), ("split_long", self.split_long)):
            if length is not None and length < 1:
                raise InvalidRequest("A length must be at least 1.", param=name)
        if self.split is not None and not 0 < self.split < 1:
            raise InvalidRequest("The share of a split is between 0 and 1.", remedy="0.1 is a tenth.")
        if not 0 < self.similarity <= 1:
            raise InvalidRequest("The similarity is between 0 and 1.", remedy="0.8 is usual.")

    def to_dict(self) -> dict[str, Any]:
        """What was asked for, ready for JSON; what was not is left out."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "measure"}
        plain["redact"] = sorted(self.redact)
        plain["balance"] = asdict(self.balance) if self.balance else None
        asked = {name: value for name, value in plain.items() if value not in (None, False, [])}
        return asked | {"measured_in": self.measure.unit} if self.truncate or self.split_long else asked
