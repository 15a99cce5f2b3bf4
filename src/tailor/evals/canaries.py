"""The user's own cases that a version must not break."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tailor.data import Case


@dataclass(frozen=True, kw_only=True, slots=True)
class Canaries:
    """Cases, and the file that they come from."""

    file: str
    """Its id."""
    cases: Sequence[Case]
