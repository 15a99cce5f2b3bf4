"""Memory of a worker: what fits, and that a job which has made steps keeps its recipe."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tailor.jobs import room
from tailor.jobs.attempt import Refused
from tailor.models import embedded_directory, inspect
from tests.training.test_planning import RECIPE, example

BASE = inspect(embedded_directory())
ITEMS = [example(number, 200) for number in range(16)]


def attempt() -> Any:
    """What is asked of an attempt here: its threads, and a log."""
    lease = SimpleNamespace(add_event=lambda *_, **__: True)
    return SimpleNamespace(settings=SimpleNamespace(num_threads=1), lease=lease)


def test_free_memory_is_the_lesser_of_machine_and_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4000 kB\nMemAvailable: 2000 kB\n")
    assert room.free_bytes(meminfo, tmp_path) == round(0.9 * 2000 * 1024)
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("500\n")
    assert room.free_bytes(meminfo, tmp_path) == round(0.9 * 2000 * 1024)
    (tmp_path / "memory.max").write_text("100500\n")
    assert room.free_bytes(meminfo, tmp_path) == 90_000
    assert room.free_bytes(tmp_path / "none", tmp_path / "none") is None


def test_short_of_memory_a_new_job_changes_or_is_refused_and_one_with_steps_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, memory = room.fitted(attempt(), BASE, RECIPE, ITEMS, may_change=True)
    assert whole == RECIPE and memory is not None
    monkeypatch.setattr(room, "free_bytes", lambda: memory.total_bytes - 1)
    changed, _ = room.fitted(attempt(), BASE, RECIPE, ITEMS, may_change=True)
    assert changed.max_microbatch_tokens < RECIPE.max_microbatch_tokens
    monkeypatch.setattr(room, "free_bytes", lambda: 1_000_000)
    with pytest.raises(Refused, match="are free"):
        room.fitted(attempt(), BASE, RECIPE, ITEMS, may_change=True)
    assert room.fitted(attempt(), BASE, RECIPE, ITEMS, may_change=False)[0] == RECIPE
