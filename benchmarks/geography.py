"""Questions about geography with their SQL (`geography_sql`), and what a query returns."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

Pair = tuple[str, str]


def questions(path: Path) -> dict[str, list[Pair]]:
    """(question, query) with their names filled in, by the data's question split: train, dev, test."""
    parts: dict[str, list[Pair]] = {"train": [], "dev": [], "test": []}
    for entry in json.loads(path.read_text(encoding="utf-8")):
        for sentence in entry["sentences"]:
            asked, query = sentence["text"], entry["sql"][0]
            for variable, value in sentence["variables"].items():
                asked, query = asked.replace(variable, value), query.replace(variable, value)
            parts[sentence["question-split"]].append((asked, query))
    return parts


def rows_of(database: Path) -> Callable[[str], list[tuple[Any, ...]] | None]:
    """A query's rows in a fixed order; None if it does not run. The database is opened for reading only."""

    def rows(query: str) -> list[tuple[Any, ...]] | None:
        with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as connection:
            steps = 0

            def is_enough() -> bool:
                nonlocal steps
                steps += 1
                return steps > 2_000

            connection.set_progress_handler(is_enough, 10_000)
            try:
                return sorted(connection.execute(query).fetchall(), key=repr)
            except sqlite3.Error:
                return None

    return rows
