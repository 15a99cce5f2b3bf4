"""Vectors for texts from a language model: the mean of what its last layer makes of the tokens.

A model that was trained to embed tells meanings apart far better; this is what any base can do by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tailor.errors import InvalidRequest
from tailor.models import ATTENTION_NAME, LoadedModel, PackedLayout

_MAX_TOKENS = 4_096
"""Tokens that run through the model at once."""

Vectors = np.ndarray[tuple[int, int], np.dtype[np.float32]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """Texts as vectors."""

    vectors: Vectors
    """`[N, E]`, each of length 1."""

    num_tokens: int


class Embedder:
    """Embeds with one model at a time; the last one stays in memory. Callers take turns."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key = ""
        self._loaded: LoadedModel | None = None

    def embed(self, key: str, load: Callable[[], LoadedModel], inputs: Sequence[str | list[int]]) -> Embedded:
        """Embed texts or token ids with the model that `key` names and `load` brings.

        Raises:
            InvalidRequest: an input is longer than the model's context, or holds no token of it.
        """
        with self._lock:
            if self._loaded is None or self._key != key:
                self._loaded = None  # the old model goes before the new one comes
                self._loaded, self._key = load(), key
            return _embed(self._loaded, inputs)


def _embed(loaded: LoadedModel, inputs: Sequence[str | list[int]]) -> Embedded:
    sequences = [_ids(loaded, number, each) for number, each in enumerate(inputs)]
    with torch.inference_mode():
        vectors = torch.cat([_means(loaded, group) for group in _groups(sequences)])
    return Embedded(
        vectors=torch.nn.functional.normalize(vectors, dim=1).numpy(), num_tokens=sum(map(len, sequences))
    )


def _ids(loaded: LoadedModel, number: int, text: str | list[int]) -> list[int]:
    tokenizer = loaded.template.tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False) if isinstance(text, str) else text
    if not ids or max(ids) >= len(tokenizer):
        what = "a token id that the model does not have" if ids else "it holds no token"
        raise InvalidRequest(
            f"Invalid 'input[{number}]': {what}.",
            param="input",
            code="invalid_value",
        )
    if len(ids) > loaded.context_length:
        raise InvalidRequest(
            f"Invalid 'input[{number}]': {len(ids):,} tokens, and the model reads {loaded.context_length:,}.",
            param="input",
            code="context_length_exceeded",
            remedy="Split the text.",
        )
    return list(ids)


def _groups(sequences: Sequence[list[int]]) -> Iterator[list[list[int]]]:
    group: list[list[int]] = []
    for sequence in sequences:
        if group and sum(map(len, group)) + len(sequence) > _MAX_TOKENS:
            yield group
            group = []
        group.append(sequence)
    yield group


def _means(loaded: LoadedModel, group: list[list[int]]) -> torch.Tensor:
    """`[N, E]`: for each sequence the mean of its last hidden states."""
    device = loaded.model.device
    if loaded.model.config._attn_implementation == ATTENTION_NAME:
        layout = PackedLayout([len(ids) for ids in group])
        hidden_TE = loaded.body(
            input_ids=torch.tensor([[token for ids in group for token in ids]], device=device),
            position_ids=layout.positions[None].to(device),
            layout=layout,
            use_cache=False,
        ).last_hidden_state[0]
        parts = torch.split(hidden_TE, [len(ids) for ids in group])
    else:
        parts = tuple(
            loaded.body(input_ids=torch.tensor([ids], device=device), use_cache=False).last_hidden_state[0]
            for ids in group
        )
    return torch.stack([part.float().mean(dim=0) for part in parts]).cpu()
