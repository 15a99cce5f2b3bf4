"""kill -9 at seeded moments in jobs of every method: each ends with the bytes of one that was left alone.

    python -m pytest -m slow tests/faults/test_methods_survive_kills.py

Ten kills for each; `TAILOR_KILLS=1` makes it one.
"""

from __future__ import annotations

import os

import pytest

from tests.faults.methods import KINDS
from tests.faults.test_kills import assert_all_identical, runs_of

KILLS = int(os.environ.get("TAILOR_KILLS", "10"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_kills_change_nothing(kind: str) -> None:
    runs = runs_of("--kind", kind, "--kills", str(KILLS), "--points", "0", "--seed", "3")
    assert_all_identical(runs, count=KILLS)
