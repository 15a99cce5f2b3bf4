"""General data mixed into special data, so that what a model could do before is not forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from tailor.data.examples import JsonObject, canonical_json


def mix(
    rows: Iterable[JsonObject], general: Iterable[JsonObject], *, share: float, seed: int
) -> Iterator[tuple[JsonObject, bool]]:
    """All `rows`, then so many of `general` that they make up `share` of the whole; True marks general ones.

    Which ones is a function of the seed and their content, whatever their order; a row that is among
    `rows` is not taken again.
    """
    known, num_rows = set(), 0
    for row in rows:
        num_rows += 1
        known.add(canonical_json(_content(row)))
        yield row, False
    wanted = round(share / (1 - share) * num_rows)

    def place(row: JsonObject) -> bytes:
        return hashlib.sha256(f"{seed}:{canonical_json(_content(row))}".encode()).digest()

    fresh = {text: row for row in general if (text := canonical_json(_content(row))) not in known}
    for row in sorted(fresh.values(), key=place)[:wanted]:
        yield {**row, "metadata": {**(row.get("metadata") or {}), "origin": "general"}}, True


def _content(row: JsonObject) -> JsonObject:
    return {key: value for key, value in row.items() if key != "metadata"}
