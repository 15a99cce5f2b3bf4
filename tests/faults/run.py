"""Kill a training job at seeded moments and at every named point, and compare what comes of it.

    python -m tests.faults.run --kills 30

The oracle is the same job (same id, same seed) left alone. Every killed run must end with the same bytes
of weights, the same metrics and messages, the same result file and the same proof.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import peft  # noqa: F401 - imported here so that forked workers need not

import tailor.jobs.tune  # noqa: F401
from tailor.store import TERMINAL
from tests.faults.methods import KINDS, add_kind
from tests.faults.scene import TENANT, Remains, add_base, leftovers, open_store, remains_of
from tests.faults.zygote import Kill, work
from tests.models.tiny import tiny_directory

MAX_ATTEMPTS = 12
STATE, WEIGHTS = "state.safetensors", "adapter_model.safetensors"
WRITES = ("before_write:{}", "mid_write:{}", "after_write:{}", "before_fsync:{}")
RENAMES = ("before_manifest", "after_manifest", "before_rename", "after_rename", "after_parent_fsync")
POINTS = (
    "before_validated",
    "after_claim",
    "after_step",
    "after_step:7",
    "after_step:60",
    *(f"{point.format(STATE)}:{count}" for point in WRITES for count in (1, 4)),
    *(point.format(WEIGHTS) for point in WRITES),
    *(f"{point.format(WEIGHTS)}:5" for point in WRITES),
    *(point.format("adapter_config.json") for point in WRITES),
    *(f"{point}:{count}" for point in RENAMES for count in (1, 4, 21)),
    "after_save",
    "after_save:9",
    "before_publish_rename",
    "before_publish_rename:5",
    "in_proof",
    "in_proof:20",
    "before_publish",
    "before_publish_commit",
    "after_publish_commit",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How one killed job ended."""

    kill: str
    num_deaths: int
    is_recovered: bool
    differences: tuple[str, ...]
    """What is not as in the oracle; none if everything is."""
    lost_steps: int | None
    """Steps done again after the first death; None if it came before the first step."""
    seconds: float


class Programme:
    """A home with one job in it, copied for every run."""

    def __init__(self, directory: Path, kind: str = "lora") -> None:
        self._directory = directory
        self._template = directory / "template"
        self.oracle_seconds = 0.0
        """How long the worker that trains takes when nobody kills it."""
        base = tiny_directory(directory / "base", vocab_size=8192)
        store = open_store(self._template)
        add_base(store, base)
        self.job_id = add_kind(store, kind, directory).id
        store.close()
        home = self._copy("oracle")
        while not self._is_over(home):
            begin = time.monotonic()
            work(home, self.job_id)
            self.oracle_seconds = time.monotonic() - begin
        self.oracle = self._remains(home)
        if self.oracle.status != "succeeded" or leftovers(home):
            raise SystemExit(f"the oracle itself failed: {self.oracle.error} {leftovers(home)}")

    def run(self, kills: list[Kill]) -> Run:
        """Kill one worker after another, then let the job end."""
        begin = time.monotonic()
        home = self._copy("killed")
        lost: int | None = None
        num_deaths = 0
        for _ in range(MAX_ATTEMPTS):
            if self._is_over(home):
                break
            # One worker checks the files, the next one trains; a kill waits until it meets its moment.
            life = work(home, self.job_id, kills[num_deaths] if num_deaths < len(kills) else None)
            if life.was_killed:
                num_deaths += 1
                if num_deaths == 1 and life.num_steps:
                    lost = life.num_steps - self._saved_step(home)
        remains = self._remains(home)
        self._tidy(home)
        differences = [*self.oracle.differences(remains), *leftovers(home)]
        shutil.rmtree(home)
        return Run(
            kill=" then ".join(map(str, kills)),
            num_deaths=num_deaths,
            is_recovered=remains.status == "succeeded",
            differences=tuple(differences),
            lost_steps=lost,
            seconds=time.monotonic() - begin,
        )

    def run_to_a_death(self, kills: list[Kill]) -> Run:
        """The same, earlier and earlier if the job was over before its moment came."""
        while True:
            run = self.run(kills)
            if run.num_deaths:
                return run
            kills = [Kill(after_seconds=0.6 * (kill.after_seconds or 0.0)) for kill in kills]

    def _saved_step(self, home: Path) -> int:
        store = open_store(home)
        job = store.jobs.get(TENANT, self.job_id)
        store.close()
        return job.saved_step

    def _copy(self, name: str) -> Path:
        home = self._directory / name
        shutil.copytree(self._template, home)
        return home

    def _is_over(self, home: Path) -> bool:
        store = open_store(home)
        status = store.jobs.get(TENANT, self.job_id).status
        store.close()
        return status in TERMINAL

    def _tidy(self, home: Path) -> None:
        """What a server does at its start and every hour."""
        store = open_store(home)
        store.sweep()
        store.close()

    def _remains(self, home: Path) -> Remains:
        store = open_store(home)
        remains = remains_of(store, self.job_id)
        store.close()
        return remains


def seeded_kills(programme: Programme, count: int, seed: int) -> Iterator[list[Kill]]:
    """Uniform in time over the life of a worker; every third run has two deaths."""
    moments = random.Random(seed)
    for number in range(count):
        kills = [Kill(after_seconds=moments.uniform(0.0, programme.oracle_seconds)) for _ in range(2)]
        yield kills if number % 3 == 2 else kills[:1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="kills at seeded moments")
    parser.add_argument("--points", type=int, default=len(POINTS), help="how many of the named points")
    parser.add_argument("--seed", type=int, default=20_261_120)
    parser.add_argument("--kind", choices=KINDS, default="lora", help="of job; points are those of lora")
    parser.add_argument("--json", action="store_true", help="print the runs as JSON")
    given = parser.parse_args()
    runs = []
    # The page cache survives a kill, so memory is as good a disk as any, and its fsync is quicker.
    memory = Path("/dev/shm")
    parent = memory if memory.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="tailor-faults-", dir=parent) as name:
        programme = Programme(Path(name), given.kind)
        points = random.Random(given.seed).sample(POINTS, min(given.points, len(POINTS)))
        plans = [[Kill(at_point=point)] for point in points]
        for number, kills in enumerate([*seeded_kills(programme, given.kills, given.seed), *plans]):
            run = programme.run_to_a_death if number < given.kills else programme.run
            runs.append(run(kills))
            if not given.json:
                print(_line(runs[-1]), flush=True)
    if given.json:
        print(json.dumps([asdict(run) for run in runs]))
    else:
        print(_table(runs, programme, given.seed))
    return 0 if all(run.is_recovered and not run.differences for run in runs) else 1


def _line(run: Run) -> str:
    verdict = "identical" if not run.differences else f"DIFFERENT: {', '.join(run.differences)}"
    return f"{run.kill:36} deaths {run.num_deaths}  lost {run.lost_steps!s:4} {run.seconds:5.1f} s  {verdict}"


def _table(runs: list[Run], programme: Programme, seed: int) -> str:
    lost = [run.lost_steps for run in runs if run.lost_steps is not None]
    events = [run for run in runs if {"metrics", "messages"} & set(run.differences)]
    rows = {
        "runs": len(runs),
        "with a death": sum(run.num_deaths > 0 for run in runs),
        "deaths": sum(run.num_deaths for run in runs),
        "recovered by themselves": sum(run.is_recovered for run in runs),
        "identical to the byte": sum(not run.differences for run in runs),
        "with a gap or a duplicate in the events": len(events),
        "median steps done again (save every 5)": statistics.median(lost) if lost else "-",
        "most steps done again": max(lost) if lost else "-",
        "seconds, the oracle": f"{programme.oracle_seconds:.1f}",
        "seconds, all runs": f"{sum(run.seconds for run in runs):.0f}",
        "seed": seed,
    }
    return "\n".join(f"| {name} | {value} |" for name, value in rows.items())


if __name__ == "__main__":
    sys.exit(main())
