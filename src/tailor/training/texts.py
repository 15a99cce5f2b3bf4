"""Plain text as training examples: whole documents, cut into pieces that fit the context."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from tailor.models import Template
from tailor.training.batches import Tokenized, TokenizedExample

if TYPE_CHECKING:
    from tailor.data import TextExample

_AT_ONCE = 1_000
_END_MARKS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")


def tokenize_texts(documents: Iterable[TextExample], template: Template, *, max_tokens: int) -> Tokenized:
    """Documents as token ids, every token but the first with loss.

    A document stands between two end marks (the first tells the model that something new begins) and is
    cut into pieces of at most `max_tokens`. A piece starts with the last token of the one before it, so
    that each token is predicted exactly once. Pieces never mix documents: attention sees each one alone.
    """
    pieces: list[TokenizedExample] = []
    mark = boundary_id(template)
    for document, ids in _encoded(documents, template):
        ids_D = torch.tensor([mark, *ids, mark], dtype=torch.int32)
        weights_D = torch.ones(min(len(ids_D), max_tokens))
        weights_D[0] = 0.0
        bounds = [*range(0, len(ids_D) - 1, max_tokens - 1), len(ids_D) - 1]
        for place, (begin, end) in enumerate(pairwise(bounds)):
            pieces.append(
                TokenizedExample(
                    line=document.line,
                    fingerprint=hashlib.sha256(f"{document.fingerprint}:{place}".encode()).hexdigest(),
                    ids=ids_D[begin : end + 1],
                    weights=weights_D[: end + 1 - begin],
                )
            )
    return Tokenized(examples=tuple(pieces), skipped_lines=(), truncated_lines=())


def boundary_id(template: Template) -> int:
    """The token that stands between documents: the model's end-of-text mark, not its end of turn."""
    tokenizer = template.tokenizer
    for mark in _END_MARKS:
        if (found := tokenizer.convert_tokens_to_ids(mark)) in tokenizer.all_special_ids:
            return int(found)
    return int(tokenizer.eos_token_id)


def _encoded(documents: Iterable[TextExample], template: Template) -> Iterator[tuple[TextExample, list[int]]]:
    """Many documents at once, which the tokenizer spreads over the processor's cores."""
    waiting: list[TextExample] = []
    for document in documents:
        waiting.append(document)
        if len(waiting) == _AT_ONCE:
            yield from _encode(waiting, template)
            waiting = []
    yield from _encode(waiting, template)


def _encode(documents: list[TextExample], template: Template) -> Iterator[tuple[TextExample, list[int]]]:
    if documents:
        texts = [
            template.render(document.messages).text if document.messages else document.text
            for document in documents
        ]
        encoded = template.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False, verbose=False
        )
        yield from zip(documents, encoded["input_ids"], strict=True)
