"""From tokens to text as it grows: exact bytes, whole characters, stop strings that span tokens.

Everything is decided on bytes. Text is held back only while it could still become a stop string or the
rest of a character, and a token is handed over with the last of its bytes, so that the bytes of the
tokens handed over always join to the bytes of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tailor.inference.engine import TokenLogprob
from tailor.models import TokenTable


@dataclass(frozen=True, slots=True)
class Released:
    """What may be shown now."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]


_NOTHING = Released("", (), ())


class TextStream:
    """One answer's text in the making."""

    def __init__(self, table: TokenTable, stop: Sequence[str]) -> None:
        self._table = table
        self._stops = tuple(text.encode() for text in stop)
        self._held = b""
        self._tokens: list[tuple[int, int, TokenLogprob | None]] = []
        """Tokens not handed over: id, bytes of it still held (the earlier ones are shown), logprob."""

        self._is_start = True
        self.is_stopped = False
        """A stop string has been met; nothing comes after it."""

    def push(self, token_id: int, logprob: TokenLogprob | None = None) -> Released:
        """Add a token; returns what can no longer change."""
        if self._table.is_special(token_id):
            return _NOTHING
        data = self._table.bytes_of(token_id)
        if self._is_start and self._table.strips_first_space:
            data = data.removeprefix(b" ")
            logprob = replace(logprob, bytes=data) if logprob else None
        self._is_start = False
        self._held += data
        self._tokens.append((token_id, len(data), logprob))
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            return self._cut(min(found))
        return self._release(len(self._held) - max(self._open_stop(), _open_character(self._held)))

    def finish(self) -> Released:
        """The rest: what was held for a stop string that never came; not half a character."""
        return self._cut(len(self._held) - _open_character(self._held))

    def _open_stop(self) -> int:
        """Bytes at the end that a stop string may begin with."""
        return max(
            (
                size
                for stop in self._stops
                for size in range(1, min(len(stop), len(self._held) + 1))
                if self._held.endswith(stop[:size])
            ),
            default=0,
        )

    def _release(self, size: int) -> Released:
        """Show the first `size` held bytes and hand over the tokens that end within them."""
        if size == 0:
            return _NOTHING
        shown, self._held = self._held[:size], self._held[size:]
        count, used = 0, 0
        for _, held, _ in self._tokens:
            if used + held > size:
                break
            used += held
            count += 1
        done, self._tokens = self._tokens[:count], self._tokens[count:]
        if self._tokens and used < size:
            token_id, held, logprob = self._tokens[0]
            self._tokens[0] = (token_id, held - (size - used), logprob)
        return Released(
            shown.decode(errors="replace"),
            tuple(token_id for token_id, _, _ in done),
            tuple(logprob for _, _, logprob in done if logprob),
        )

    def _cut(self, size: int) -> Released:
        """Show the first `size` held bytes and drop the rest; a token cut in two keeps its first bytes."""
        released = self._release(size)
        self._held = b""
        for token_id, held, logprob in self._tokens[:1]:
            shown = len(self._table.bytes_of(token_id)) - held
            if shown > 0:
                kept = (replace(logprob, bytes=logprob.bytes[:shown]),) if logprob else ()
                released = Released(
                    released.text, (*released.token_ids, token_id), (*released.logprobs, *kept)
                )
        self._tokens = []
        return released


def _open_character(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character that is not whole yet."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:
            whole = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if back < whole and byte < 0xF8 else 0
    return 0
