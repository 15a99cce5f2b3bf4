"""No tensor in the wrong place: all of training and serving on a device that is not the processor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAMME = Path(__file__).with_name("elsewhere.py")
_FEW = "mix or prefix or (processor and full) or dpo or compile or one_batch or written or embeddings"


def run(*options: str) -> None:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-p", "no:cacheprovider", *options]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(_PROGRAMME)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        cwd=_PROGRAMME.parents[2],
    )
    assert done.returncode == 0, done.stdout[-6000:]


def test_what_trains_and_serves_follows_the_device_of_its_model() -> None:
    run("-k", _FEW)


@pytest.mark.slow
def test_everything_that_trains_and_serves_follows_the_device_of_its_model() -> None:
    run()
