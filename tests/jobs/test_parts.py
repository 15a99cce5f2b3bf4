"""The small parts: options, forecast, result file, names, shutdown, cores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tailor.errors import InvalidRequest
from tailor.jobs import JobOptions, physical_cores
from tailor.jobs.forecast import Forecast
from tailor.jobs.names import version_name
from tailor.jobs.results import result_csv
from tailor.jobs.shutdown import EXIT_UNFINISHED
from tailor.jobs.worker import process_id, started_at
from tailor.protocol import VersionName
from tailor.store import Job


@pytest.mark.parametrize(
    ("hold_out", "num_examples", "expected"),
    [
        (None, 1000, (0.1, 200)),
        (None, 5000, (0.1, 200)),
        (None, 10, (0.2, 200)),
        (0, 500, (0, 500)),
        (0.25, 400, (0.25, 400)),
        (50, 500, (0.1, 50)),
        (50, 60, (0.5, 50)),
    ],
)
def test_a_tenth_is_held_out_unless_asked_otherwise(
    hold_out: float | None, num_examples: int, expected: tuple[float, int]
) -> None:
    given = {} if hold_out is None else {"hold_out": hold_out}
    assert JobOptions.parse(given).share_and_maximum(num_examples) == expected


@pytest.mark.parametrize("value", [-1, 1.5, True, "all", float("nan"), 1.0, 10**9, []])
def test_a_hold_out_that_means_nothing_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        JobOptions.parse({"hold_out": value})
    assert caught.value.param == "tailor.hold_out"


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "all", 10**9])
def test_proof_items_are_a_number_of_items(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        JobOptions.parse({"proof_items": value})
    assert caught.value.param == "tailor.proof_items"


def test_what_is_not_ours_is_left_to_training() -> None:
    options = JobOptions.parse({"hold_out": 5, "proof_items": 7, "adapter": {"rank": 4}})
    assert (options.proof_items, options.training) == (7, {"adapter": {"rank": 4}})


def test_the_forecast_counts_what_is_left_at_the_measured_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("tailor.jobs.forecast.time.time", lambda: 5000.0)
    forecast = Forecast(total_steps=20, first_step=10, steps_after=4.0, clock=lambda: now[0])
    assert forecast.finish_at() is None
    for step, seconds in ((11, 30.0), (12, 30.0), (13, 2.0), (14, 2.0)):
        now[0] += seconds
        forecast.step_done(step)
    assert forecast.seconds_per_step == 2.0
    assert forecast.finish_at() == 5000 + (20 + 4 - 14) * 2


def test_the_result_file_has_openais_columns_first_and_blanks_where_nothing_was_measured() -> None:
    rows: list[dict[str, Any]] = [
        {
            "step": 1,
            "train_loss": 0.1234567,
            "train_mean_token_accuracy": 1.0,
            "learning_rate": 0.00012345678,
        },
        {
            "step": 2,
            "train_loss": 2.0,
            "train_mean_token_accuracy": 0.5,
            "valid_loss": 0.3,
            "train_tokens": 7,
        },
    ]
    lines = result_csv(rows).decode().split("\n")
    assert lines[0].startswith("step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,")
    assert lines[1] == "1,0.12346,1.00000,,,,,0.00012346,,"
    assert lines[2] == "2,2.00000,0.50000,0.30000,,,,,,7"
    assert lines[3:] == [""]


def test_names_follow_from_the_job(finished: tuple[Any, Job]) -> None:
    _, job = finished
    first = VersionName.parse(version_name(job, "me"))
    checkpoint = VersionName.parse(version_name(job, "me", step=6))
    assert first is not None and checkpoint is not None
    assert version_name(job, "me") == str(first)
    assert (first.organization, first.step, checkpoint.step) == ("me", None, 6)
    assert first.id != checkpoint.id


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    assert process_id() == f"{os.getpid()}:{started_at(os.getpid())}"
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started_at(child.pid) == 0
    child.wait()
    assert started_at(child.pid) == 0


@pytest.mark.parametrize(
    ("num_signals", "is_idle", "expected"), [(1, False, 0), (2, False, 75), (1, True, 75)]
)
def test_the_second_signal_means_now_and_so_does_the_first_when_idle(
    num_signals: int, is_idle: bool, expected: int
) -> None:
    code = (
        "import os, signal; from tailor.jobs.shutdown import Shutdown\n"
        f"shutdown = Shutdown(); shutdown.is_idle = {is_idle}; shutdown.listen()\n"
        f"for _ in range({num_signals}): os.kill(os.getpid(), signal.SIGTERM)\n"
        "raise SystemExit(0 if shutdown.is_asked else 1)\n"
    )
    assert EXIT_UNFINISHED == 75
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == expected


def test_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for number in os.sched_getaffinity(0):
        topology = tmp_path / f"cpu{number}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text("0-99\n")
    assert physical_cores(tmp_path) == 1
    assert 1 <= physical_cores() <= len(os.sched_getaffinity(0))
