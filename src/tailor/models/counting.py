"""Counting tokens with a model's own tokenizer, without torch and without its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def token_counter(directory: Path) -> Callable[[Sequence[str]], list[int]]:
    """How many tokens each text has, special tokens not added.

    Raises:
        FileNotFoundError: There is no tokenizer.json in the directory.
    """
    from tokenizers import Tokenizer

    path = directory / "tokenizer.json"
    if not path.is_file():
        raise FileNotFoundError(path)
    tokenizer = Tokenizer.from_file(str(path))

    def count(texts: Sequence[str]) -> list[int]:
        return [
            len(found.ids) for found in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ]

    return count
