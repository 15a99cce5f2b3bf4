"""Personal data, replaced by what it is."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from tailor.data.doctor.personal import find_personal
from tailor.data.fixing.drafts import Draft
from tailor.data.fixing.parts import rewritten


def redact(draft: Draft, kinds: AbstractSet[str]) -> None:
    """Replace personal data of these kinds, wherever it is said, by `[EMAIL]`, `[CARD]` and so on."""
    for place in range(len(draft)):
        row = draft[place]
        found: set[str] = set()
        better = rewritten(row, lambda text: redacted(text, kinds, found))  # noqa: B023 - called at once
        if found:
            draft.change(place, better, step="redact", reason=f"replaced: {', '.join(sorted(found))}")


def redacted(text: str, kinds: AbstractSet[str], found: set[str]) -> str:
    """The text with its personal data replaced; the kinds that were found are added to `found`."""
    pieces: list[str] = []
    at = 0
    for span in find_personal(text):
        if span.kind in kinds and span.start >= at:
            pieces += [text[at : span.start], f"[{span.kind.upper()}]"]
            at = span.end
            found.add(span.kind)
    return "".join([*pieces, text[at:]])
