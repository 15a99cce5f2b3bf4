"""What the tokens of a vocabulary say, and which tokens of two vocabularies say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        self._tokenizer = template.tokenizer
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

    def says(self, token_id: int) -> bytes:
        """The bytes of a token of text; none of a special one."""
        return b"" if self._table.is_special(token_id) else self._table.bytes_of(token_id)

    def firsts(self, texts: Sequence[bytes]) -> list[int | None]:
        """The token that each text begins with; None where it is half a character, or begins otherwise."""
        whole = [index for index, data in enumerate(texts) if _is_text(data)]
        encoded = self._tokenizer.backend_tokenizer.encode_batch(
            [texts[index].decode() for index in whole], add_special_tokens=False
        )
        found: list[int | None] = [None] * len(texts)
        for index, each in zip(whole, encoded, strict=True):
            if each.ids and texts[index].startswith(self.says(each.ids[0]) or b"\xff"):
                found[index] = each.ids[0]
        return found

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
    """For each id its place in `common_C`, or that of the common token that the other side would begin it
    with; C if there is none."""

    longer_A: Tensor
    """The ids that the other side would begin with a common token."""

    others_B: Tensor
    """The ids that have nothing in common with the other side."""

    places_V: Tensor
    """Place of each id in `others_B`; B if it is not there."""

    def to(self, device: torch.device) -> Vocabulary:
        """The same on a device."""
        return Vocabulary(
            common_C=self.common_C.to(device),
            columns_V=self.columns_V.to(device),
            longer_A=self.longer_A.to(device),
            others_B=self.others_B.to(device),
            places_V=self.places_V.to(device),
        )


def common_vocabulary(
    student: Lexicon, teacher: Lexicon, *, num_student: int, num_teacher: int
) -> tuple[Vocabulary, Vocabulary]:
    """Tokens that are spelled alike matched one to one, among so many rows of each output layer."""
    ours, theirs = student.keys(num_student), teacher.keys(num_teacher)
    both = [key for key in ours if key in theirs]
    mine, yours = ({table[key]: place for place, key in enumerate(both)} for table in (ours, theirs))
    spelled = {key[1]: place for place, key in enumerate(both) if key[0] == "text" and not key[2]}
    longer_yours = _longer(teacher, theirs.values(), yours, student, mine, spelled)
    longer_mine = _longer(student, ours.values(), mine, teacher, yours | longer_yours, spelled)
    return vocabulary_of(mine, longer_mine, num_student), vocabulary_of(yours, longer_yours, num_teacher)


def vocabulary_of(common: Mapping[int, int], longer: Mapping[int, int], size: int) -> Vocabulary:
    """From the places of common ids, and of ids that begin with a common token."""
    columns_V = torch.full((size,), len(common))
    columns_V[list(common)] = torch.tensor(list(common.values()), dtype=torch.long)
    longer_A = torch.tensor(sorted(longer), dtype=torch.long)
    columns_V[longer_A] = torch.tensor([longer[each] for each in sorted(longer)], dtype=torch.long)
    others_B = (columns_V == len(common)).nonzero().squeeze(1)
    places_V = torch.full((size,), len(others_B))
    places_V[others_B] = torch.arange(len(others_B))
    return Vocabulary(
        common_C=torch.tensor(sorted(common, key=common.__getitem__), dtype=torch.long),
        columns_V=columns_V,
        longer_A=longer_A,
        others_B=others_B,
        places_V=places_V,
    )


def _longer(
    one: Lexicon,
    ids: Iterable[int],
    own: Mapping[int, int],
    other: Lexicon,
    places: Mapping[int, int],
    spelled: Mapping[bytes, int],
) -> dict[int, int]:
    """The place of the common token that the other side would begin each id with, where there is one."""
    alone = [each for each in ids if each not in own and one.says(each)]
    found: dict[int, int] = {}
    for token_id, first in zip(alone, other.firsts([one.says(each) for each in alone]), strict=True):
        data = one.says(token_id)
        shorter = (data[:length] for length in range(len(data) - 1, 0, -1))
        place = places.get(first) if first is not None else None
        if place is None:
            place = next((spelled[each] for each in shorter if each in spelled), None)
        if place is not None:
            found[token_id] = place
    return found


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


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
