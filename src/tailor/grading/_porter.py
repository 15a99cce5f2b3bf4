"""Stems of English words: M. F. Porter, "An algorithm for suffix stripping", Program 14, 1980, 130-137."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

_STEP_2: Final = """
ational ate tional tion enci ence anci ance izer ize abli able alli al entli ent eli e ousli ous
ization ize ation ate ator ate alism al iveness ive fulness ful ousness ous aliti al iviti ive biliti ble
"""
_STEP_3: Final = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP_4: Final = "al ance ence er ic able ible ant ement ment ent ion ou ism ate iti ous ive ize"
_WORDS_2: Final = tuple(_STEP_2.split())
_PAIRS_2: Final = sorted(zip(_WORDS_2[::2], _WORDS_2[1::2], strict=True), key=lambda pair: -len(pair[0]))
_SUFFIXES_4: Final = sorted(_STEP_4.split(), key=len, reverse=True)


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """The stem of a word in lower case; words of two letters and words of other scripts stay as they are."""
    if len(word) <= 2 or not (word.isascii() and word.isalpha()):
        return word
    word = _step_1(word)
    word = _replace(word, _PAIRS_2)
    word = _replace(word, _STEP_3)
    word = _step_4(word)
    return _step_5(word)


def _shape(word: str) -> str:
    """A c for each consonant and a v for each vowel; y is a vowel after a consonant."""
    shape = ""
    for place, letter in enumerate(word):
        is_vowel = letter in "aeiou" or (letter == "y" and place > 0 and shape[-1] == "c")
        shape += "v" if is_vowel else "c"
    return shape


def _measure(word: str) -> int:
    """The m of [C](VC)^m[V]."""
    return len(re.findall("v+c+", _shape(word)))


def _has_vowel(word: str) -> bool:
    return "v" in _shape(word)


def _is_double(word: str) -> bool:
    return len(word) > 1 and word[-1] == word[-2] and _shape(word)[-1] == "c"


def _is_short(word: str) -> bool:
    """The paper's *o: ends consonant, vowel, consonant, the last not w, x or y."""
    return _shape(word).endswith("cvc") and word[-1] not in "wxy"


def _step_1(word: str) -> str:
    if word.endswith(("sses", "ies")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    if word.endswith("eed"):
        word = word[:-1] if _measure(word[:-3]) > 0 else word
    else:
        for suffix in ("ed", "ing"):
            if word.endswith(suffix) and _has_vowel(word.removesuffix(suffix)):
                word = _mend(word.removesuffix(suffix))
                break
    return word[:-1] + "i" if word.endswith("y") and _has_vowel(word[:-1]) else word


def _mend(word: str) -> str:
    """What is left after -ed or -ing."""
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if _is_double(word) and word[-1] not in "lsz":
        return word[:-1]
    return word + "e" if _measure(word) == 1 and _is_short(word) else word


def _replace(word: str, pairs: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> str:
    for suffix, better in pairs:
        if word.endswith(suffix):
            begin = word.removesuffix(suffix)
            return begin + better if _measure(begin) > 0 else word
    return word


def _step_4(word: str) -> str:
    for suffix in _SUFFIXES_4:
        if word.endswith(suffix):
            begin = word.removesuffix(suffix)
            fits = _measure(begin) > 1 and (suffix != "ion" or begin.endswith(("s", "t")))
            return begin if fits else word
    return word


def _step_5(word: str) -> str:
    if word.endswith("e"):
        begin = word[:-1]
        if _measure(begin) > 1 or (_measure(begin) == 1 and not _is_short(begin)):
            word = begin
    return word[:-1] if word.endswith("ll") and _measure(word) > 1 else word
