"""Whether an answer is right: by what must occur in it, or by the answer it must equal."""

from __future__ import annotations

from collections.abc import Sequence

from tailor.errors import InvalidRequest


def matches(text: str, expected_patterns: Sequence[str]) -> bool:
    """Whether every pattern occurs in the text, upper and lower case alike.

    Patterns are plain text, not regular expressions: those of strangers can take for ever to match.

    Raises:
        InvalidRequest: if there are no patterns, which every answer would match.
    """
    if not expected_patterns:
        raise InvalidRequest(
            "expected_patterns is empty, so every answer would pass.",
            param="expected_patterns",
            remedy="Name at least one text that a right answer contains.",
        )
    folded = text.casefold()
    return all(pattern.casefold() in folded for pattern in expected_patterns)


def equals(text: str, reference: str) -> bool:
    """Whether the text is the reference, white space around either aside."""
    return text.strip() == reference.strip()
