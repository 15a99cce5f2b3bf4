"""kill -9 at seeded moments and at named points: every job ends as if nothing had happened (reliability T2).

`make faults` runs the whole programme and prints its table; here is a sample of it, and with `-m slow` the
long one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest


def runs_of(*arguments: str) -> list[dict[str, Any]]:
    """In a process of its own: forked workers need a parent in which torch has computed nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.run", "--json", *arguments],
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )
    runs: list[dict[str, Any]] = json.loads(done.stdout)
    return runs


def assert_all_identical(runs: list[dict[str, Any]], *, count: int) -> None:
    assert len(runs) == count
    assert [run for run in runs if run["num_deaths"] == 0] == []
    assert [run for run in runs if run["differences"] or not run["is_recovered"]] == []


def test_a_sample_of_kills_changes_nothing() -> None:
    assert_all_identical(runs_of("--kills", "3", "--points", "3"), count=6)


@pytest.mark.slow
def test_three_hundred_kills_change_nothing() -> None:
    runs = runs_of("--kills", "300", "--points", "0", "--seed", "7")

    assert_all_identical(runs, count=300)
