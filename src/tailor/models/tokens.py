"""What the tokens of a tokenizer stand for, byte by byte."""

from __future__ import annotations

import json
from typing import Any


class TokenTable:
    """The bytes each token stands for, looked up once per token."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        added: dict[int, Any] = tokenizer.added_tokens_decoder
        self._added = {token_id: str(token.content) for token_id, token in added.items()}
        named = (token_id for token_id, token in added.items() if token.special)
        self._special = frozenset((*tokenizer.all_special_ids, *named))
        decoder = json.loads(tokenizer.backend_tokenizer.to_str())["decoder"] or {}
        steps = decoder.get("decoders", [decoder])
        self._is_byte_level = any(step.get("type") == "ByteLevel" for step in steps)
        self._bytes: dict[int, bytes] = {}
        self.strips_first_space = any(
            (step.get("type") == "Strip" and step.get("start"))
            or (step.get("type") == "Metaspace" and step.get("prepend_scheme") != "never")
            for step in steps
        )
        """Whether the space before the first word is the tokenizer's own and not part of the text."""

    def is_special(self, token_id: int) -> bool:
        """Special tokens (end of turn and the like) have no text."""
        return token_id in self._special

    def bytes_of(self, token_id: int) -> bytes:
        """The token's bytes; a special token's name."""
        found = self._bytes.get(token_id)
        if found is None:
            found = self._bytes[token_id] = self._spell(token_id)
        return found

    def _spell(self, token_id: int) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        token: str | None = self._tokenizer.convert_ids_to_tokens(token_id)
        if token is None:  # the output layer may be padded past the vocabulary
            return b""
        if self._is_byte_level:
            return bytes(_BYTE_OF_CHARACTER[character] for character in token)
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace("\u2581", " ").encode()


def _byte_of_character() -> dict[str, int]:
    """Byte-level BPE writes every byte as a printable character: its own, else 256 onwards in order."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF_CHARACTER = _byte_of_character()
