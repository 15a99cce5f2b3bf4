"""What the command line's tests share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tailor.cli import app

Tailor = Callable[..., Result]


@pytest.fixture(autouse=True)
def no_server_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests talk to the server they name, and keep out of the user's home."""
    for name in ("TAILOR_BASE_URL", "TAILOR_API_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY", "TAILOR_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TAILOR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")


@pytest.fixture
def tailor() -> Tailor:
    """Run a command line; the result has its exit code and what it printed."""

    def run(*arguments: str | Path, typed: str | None = None) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], input=typed)

    return run


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """A JSONL file; a text among the rows is written as it is."""
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def mail(text: str, label: str) -> dict[str, Any]:
    """One row to learn from."""
    return {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": label}]}
