"""When two texts say the same in other spelling."""

from __future__ import annotations

import re
from typing import Final

_WORD: Final = re.compile(r"\w+")
_FILLERS: Final = frozenset(
    """a an the please pls kindly just hi hello hey thanks thank you thx so well ok okay um uh really very
    bitte danke""".split()  # noqa: SIM905 - reads better than a list
)


def same_question(one: str, other: str) -> bool:
    """Whether two texts ask the same but for spelling: case, punctuation, spacing, fillers, slips of a key.

    Another word, another figure or another order of words is another question. Only a long word can hold
    a slip: `refund` and `refnud` are the same, `cat` and `bat` are not.
    """
    return same_words(content_words(one), content_words(other))


def loose_key(text: str) -> str:
    """Equal for texts that are the same but for case, spacing and punctuation between words."""
    return " ".join(_WORD.findall(text.casefold())) or text


def content_words(text: str) -> tuple[str, ...]:
    """The words of a text but for fillers; the text itself where there is nothing else."""
    words = tuple(word for word in _WORD.findall(text.casefold()) if word not in _FILLERS)
    return words or (text,)


def same_words(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two sequences of words are the same but for slips of a key, one in eight words at most."""
    if one == other:
        return True
    if len(one) == len(other):
        slips = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
        return len(slips) <= max(1, len(one) // 8) and all(_is_slip(a, b) for a, b in slips)
    return "".join(one) == "".join(other)


def _is_slip(one: str, other: str) -> bool:
    """Whether two words differ by one slip of a key: a letter changed, added, left out, or two swapped."""
    if min(len(one), len(other)) < 4 or not (one.isalpha() and other.isalpha()):
        return False
    if abs(len(one) - len(other)) > 1 or one[0] != other[0]:
        return False
    if _is_ending(one, other):
        return False
    at = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if at is None:
        return True
    rest, rest_other = one[at:], other[at:]
    return (
        rest[1:] == rest_other[1:]
        or rest[1:] == rest_other
        or rest == rest_other[1:]
        or (rest[:2] == rest_other[1::-1] and rest[2:] == rest_other[2:])
    )


def _is_ending(one: str, other: str) -> bool:
    """Whether the words differ in their last letter only, as in `order` and `orders`: that is grammar."""
    return one[: len(other) - 1] == other[: len(one) - 1] or one + "s" == other or other + "s" == one
