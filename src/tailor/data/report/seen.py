"""One example as the model will see it: its tokens, which of them are learnt, and where it is cut off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SeenToken:
    """One token."""

    text: str
    """What it stands for."""

    is_learnt: bool
    """Whether it carries loss."""

    is_cut: bool
    """Whether it is beyond what the model holds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One example, token by token."""

    line: int
    """Where it stands in its file."""

    base: str
    """The model whose template and tokenizer these are."""

    context: int
    """Tokens that the model holds."""

    tokens: tuple[SeenToken, ...]
    """In order."""

    @property
    def num_learnt(self) -> int:
        """Tokens that carry loss and are not cut off."""
        return sum(token.is_learnt and not token.is_cut for token in self.tokens)

    @property
    def num_cut(self) -> int:
        """Tokens beyond what the model holds."""
        return sum(token.is_cut for token in self.tokens)

    @classmethod
    def of(
        cls,
        ids: Sequence[int],
        weights: Sequence[float],
        *,
        decode: Callable[[list[int]], str],
        line: int,
        base: str,
        context: int,
    ) -> Seen:
        """From rendered ids and loss weights. `decode` turns a few ids into text."""
        texts = _pieces(ids, decode)
        tokens = tuple(
            SeenToken(text, weight > 0, place >= context)
            for place, (text, weight) in enumerate(zip(texts, weights, strict=True))
        )
        return cls(line=line, base=base, context=context, tokens=tokens)

    def runs(self) -> list[tuple[bool, bool, list[str]]]:
        """(is learnt, is cut, token texts) for each stretch of tokens of one kind."""
        found: list[tuple[bool, bool, list[str]]] = []
        for token in self.tokens:
            if not found or found[-1][:2] != (token.is_learnt, token.is_cut):
                found.append((token.is_learnt, token.is_cut, []))
            found[-1][2].append(token.text)
        return found


def _pieces(ids: Sequence[int], decode: Callable[[list[int]], str]) -> list[str]:
    """The text of each token; a character that takes several tokens is shown with the last of them."""
    pieces: list[str] = []
    waiting: list[int] = []
    for each in ids:
        waiting.append(each)
        text = decode(waiting)
        if text.endswith("\ufffd") and len(waiting) < 4:
            pieces.append("")
            continue
        pieces.append(text)
        waiting = []
    return pieces
