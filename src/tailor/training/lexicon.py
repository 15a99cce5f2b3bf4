"""What the tokens of a vocabulary say, and which tokens of two vocabularies say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tailor.errors import InvalidRequest
from tailor.models import Template, TokenTable

_PROBE = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Spelled:
    """Tokens of an answer as the bytes they stand for."""

    data: bytes
    ends: tuple[int, ...]
    """Where each token ends in `data`; not of the end of turn, nor of what follows it."""
    is_ended: bool
    """Whether the end of turn comes next."""


class Lexicon:
    """The vocabulary of a template's tokenizer."""

    def __init__(self, template: Template) -> None:
        self._table = TokenTable(template.tokenizer)
        self._size = len(template.tokenizer)
        self._ids: dict[bytes, int] = {}
        for token_id in range(self._size):
            if not self._table.is_special(token_id) and (data := self._table.bytes_of(token_id)):
                self._ids.setdefault(data, token_id)
        probe = template.render(_PROBE)
        answer = probe.answers[0]
        ids = probe.ids[answer.begin : answer.end]
        begin = self._ending(ids)
        self.end_id = None if begin is None else ids[begin]
        """The token that ends an answer; None if the template ends it with words."""

    def whole(self, data: bytes) -> int:
        """The one token that stands for all of these bytes; -1 if there is none."""
        return self._ids.get(data, -1)

    def spell(self, ids: Sequence[int]) -> Spelled:
        """The bytes of an answer's tokens."""
        begin = self._ending(ids)
        content = ids if begin is None else ids[:begin]
        pieces = [self._table.bytes_of(token_id) for token_id in content]
        ends, length = [], 0
        for piece in pieces:
            length += len(piece)
            ends.append(length)
        is_ended = begin is not None and ids[begin] == self.end_id
        return Spelled(data=b"".join(pieces), ends=tuple(ends), is_ended=is_ended)

    def keys(self, num_rows: int) -> dict[tuple[str, bytes, int], int]:
        """Ids below `num_rows` by what they say; how many ids before say the same is part of the key."""
        keys: dict[tuple[str, bytes, int], int] = {}
        seen: dict[tuple[str, bytes], int] = {}
        for token_id in range(min(self._size, num_rows)):
            if token_id == self.end_id:
                said = ("end", b"")
            else:
                kind = "special" if self._table.is_special(token_id) else "text"
                said = (kind, self._table.bytes_of(token_id))
            count = seen.get(said, 0)
            seen[said] = count + 1
            keys[(*said, count)] = token_id
        return keys

    def _ending(self, ids: Sequence[int]) -> int | None:
        """Where the special tokens begin that an answer ends with; white space may follow them."""
        end = len(ids)
        while (
            end
            and not self._table.is_special(ids[end - 1])
            and not self._table.bytes_of(ids[end - 1]).strip()
        ):
            end -= 1
        begin = end
        while begin and self._table.is_special(ids[begin - 1]):
            begin -= 1
        return begin if begin < end else None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Vocabulary:
    """One side of two vocabularies of which a part is common."""

    common_C: Tensor
    """Ids of the tokens that the other side has as well, in an order that both have."""

    columns_V: Tensor
    """Place of each id in `common_C`; C if it is not there."""

    others_A: Tensor
    """The other ids."""

    places_V: Tensor
    """Place of each id in `others_A`; A if it is not there."""


def common_vocabulary(
    student: Lexicon, teacher: Lexicon, *, num_student: int, num_teacher: int
) -> tuple[Vocabulary, Vocabulary]:
    """Tokens that are spelled alike matched one to one, among so many rows of each output layer."""
    ours, theirs = student.keys(num_student), teacher.keys(num_teacher)
    both = [key for key in ours if key in theirs]
    return (
        _vocabulary([ours[key] for key in both], num_student),
        _vocabulary([theirs[key] for key in both], num_teacher),
    )


def check_comparable(student: Lexicon, teacher: Lexicon) -> None:
    """Refuse two vocabularies whose probabilities cannot be compared.

    Raises:
        InvalidRequest: says why (`different_tokenizers`).
    """
    for lexicon, whose in ((student, "student"), (teacher, "teacher")):
        if lexicon.end_id is None:
            raise _incomparable(f"The {whose}'s chat template ends answers with no special token")
    ours, theirs = student.keys(2**31), teacher.keys(2**31)
    if not any(key[0] == "text" for key in ours.keys() & theirs.keys()):
        raise _incomparable("Student and teacher have no token in common")


def _incomparable(why: str) -> InvalidRequest:
    return InvalidRequest(
        f"{why}, so their probabilities cannot be compared.",
        code="different_tokenizers",
        param="tailor.distillation.signal",
        remedy='Learn from its answers: "signal": "answers".',
    )


def _vocabulary(common: Sequence[int], size: int) -> Vocabulary:
    common_C = torch.tensor(common, dtype=torch.long)
    is_common = torch.zeros(size, dtype=torch.bool)
    is_common[common_C] = True
    others_A = (~is_common).nonzero().squeeze(1)
    columns_V, places_V = torch.full((size,), len(common_C)), torch.full((size,), len(others_A))
    columns_V[common_C] = torch.arange(len(common_C))
    places_V[others_A] = torch.arange(len(others_A))
    return Vocabulary(common_C=common_C, columns_V=columns_V, others_A=others_A, places_V=places_V)
