"""What the training rows have in common: engines in processes of their own, A B A B, exactness, one line.

A row says what is trained and who competes; `compare` then

1. checks, in float32, that each engine's losses before and after an update on one batch are those of tailor's
   plain path (each example by itself, transformers' own attention), relative 1e-5: equal losses after an
   update mean equal gradients;
2. tries every setting of every opponent for one step, and keeps each one's fastest;
3. runs all in turn, so many rounds, each in a fresh process, whose peak memory is its own, on one thread,
   counting processor seconds, so that other work on the machine counts little;
4. appends one line to `benchmarks/results/ROW.jsonl`.

`--smoke` stops after the first part, on a tiny model: it measures nothing and needs only minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from opponents import python_of
from workloads import make_base, make_start, write_rows

HERE = Path(__file__).parent
TOLERANCE = 1e-5
EXACT_UPDATES = 2
Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is trained, and who competes with which settings."""

    name: str
    task: str
    set: str
    goal: float
    opponents: dict[str, tuple[str, ...]]
    adapter: str = "lora"
    batch_size: int = 8
    exact_batch: int = 2
    num_steps: int = 2
    """Timed steps of each run, each on a batch of its own."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Files of a comparison, and how much is measured."""

    directory: Path
    rounds: int = 2
    is_smoke: bool = False
    base: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "base", self.directory / "base")


def run_rows(rows: list[Row], about: str | None) -> None:
    """The command line of a row's file."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="a tiny model, float32: exactness only")
    parser.add_argument("--rounds", type=int, default=2, help="A B A B ... (2)")
    parser.add_argument("--steps", type=int, help="timed steps of each run")
    parser.add_argument("--opponents", help="only these, with commas between")
    parser.add_argument("--sets", help="only these, with commas between")
    arguments = parser.parse_args()
    wanted = [row for row in rows if not arguments.sets or row.set in arguments.sets.split(",")]
    with tempfile.TemporaryDirectory() as directory:
        place = Place(directory=Path(directory), rounds=arguments.rounds, is_smoke=arguments.smoke)
        make_base(place.base, is_tiny=arguments.smoke)
        make_start(place.base, place.directory / "start.safetensors")
        lines = [compare(shortened(row, arguments), place) for row in wanted]
    if not all(line["is_exact"] for line in lines):
        sys.exit("The losses differ.")


def shortened(row: Row, arguments: argparse.Namespace) -> Row:
    named = arguments.opponents.split(",") if arguments.opponents else row.opponents
    chosen = {name: settings for name, settings in row.opponents.items() if name in named}
    return replace(row, opponents=chosen, num_steps=arguments.steps or row.num_steps)


def compare(row: Row, place: Place) -> Line:
    """All of a row; prints and writes its line."""
    line = head(row.name) | {"set": row.set, "task": row.task, "adapter": row.adapter, "goal": row.goal}
    line |= exactness(row, place)
    if not place.is_smoke:
        line |= speeds(row, place)
        append(line)
    print(json.dumps(line, indent=1), flush=True)
    return line


def head(name: str) -> Line:
    """What every line begins with."""
    return {
        "benchmark": name,
        "machine": f"{processor()}, {os.cpu_count()} cores, 1 thread used",
        "versions": {package: version(package) for package in ("torch", "transformers", "peft", "trl")},
        "at": time.strftime("%Y-%m-%d"),
    }


def append(line: Line) -> None:
    results = HERE / "results" / f"{line['benchmark']}.jsonl"
    results.parent.mkdir(exist_ok=True)
    with results.open("a") as file:
        file.write(json.dumps(line) + "\n")


def exactness(row: Row, place: Place) -> Line:
    """Relative difference of each engine's losses from the plain path's, the worst of some steps."""
    small = replace(row, batch_size=row.exact_batch, num_steps=EXACT_UPDATES)
    plain = in_process("tailor", "plain", small, place, is_exact=True)["losses"]
    differences = {}
    for engine in ("tailor", *row.opponents):
        losses = in_process(engine, "float32", small, place, is_exact=True)["losses"]
        pairs = zip(losses, plain, strict=True)
        differences[engine] = max(abs(one - other) / abs(other) for one, other in pairs)
    return {
        "relative_loss_difference": differences,
        "exact_losses": plain,
        "is_exact": all(difference < TOLERANCE for difference in differences.values()),
    }


def speeds(row: Row, place: Place) -> Line:
    """The fastest setting of each opponent, and all in turn."""
    once = replace(row, num_steps=1)
    tried = {
        engine: {setting: in_process(engine, setting, once, place) for setting in settings}
        for engine, settings in row.opponents.items()
    }
    rates = {
        engine: {setting: rounded(run["tokens_per_second"]) for setting, run in runs.items()}
        for engine, runs in tried.items()
    }
    settings = {"tailor": "auto"} | {
        engine: max(found, key=found.__getitem__) for engine, found in rates.items()
    }
    runs: dict[str, list[Line]] = {engine: [] for engine in settings}
    for _ in range(place.rounds):
        for engine, setting in settings.items():
            runs[engine].append(in_process(engine, setting, row, place))
    return {
        "batch_size": row.batch_size,
        "rounds": place.rounds,
        "steps": row.num_steps,
        "engines": {engine: summary(found) | {"setting": settings[engine]} for engine, found in runs.items()},
        "ratio": {engine: ratio(runs["tailor"], runs[engine]) for engine in row.opponents},
        "memory_ratio": {
            engine: rounded(median(runs["tailor"], "peak_memory_gb") / median(runs[engine], "peak_memory_gb"))
            for engine in row.opponents
        },
        "tried_tokens_per_second": rates,
    }


def ratio(ours: list[Line], theirs: list[Line]) -> Line:
    """Speed over speed, round by round."""
    found = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(ours, theirs, strict=True)]
    return {
        "median": rounded(statistics.median(found)),
        "low": rounded(min(found)),
        "high": rounded(max(found)),
    }


def summary(runs: list[Line]) -> Line:
    return {
        "tokens_per_second": rounded(median(runs, "tokens_per_second")),
        "peak_memory_gb": rounded(median(runs, "peak_memory_gb")),
        "step_seconds": [run["step_seconds"] for run in runs],
        "seconds_before": [run["seconds_before"] for run in runs],
        "losses": runs[0]["losses"],
    }


def in_process(engine: str, setting: str, row: Row, place: Place, *, is_exact: bool = False) -> Line:
    """One engine in a process of its own; what it prints last."""
    data, start = place.directory / f"{row.set}.json", place.directory / "start.safetensors"
    write_rows(data, row.set, 2 * row.batch_size if is_exact else row.batch_size * row.num_steps, place.base)
    job = {
        "task": row.task,
        "adapter": row.adapter,
        "base": str(place.base),
        "rows": str(data),
        "start": str(start) if is_exact and row.adapter == "lora" else None,
        "batch_size": row.batch_size,
        "num_steps": row.num_steps,
        "is_exact": is_exact,
    }
    (place.directory / "job.json").write_text(json.dumps(job))
    command = [python_of(engine), "-W", "ignore", HERE / "engines" / f"{engine}_engine.py"]
    command += [place.directory / "job.json", setting]
    return last_line(list(map(str, command)), place.directory)


def last_line(command: list[str], directory: Path) -> Line:
    """Run it on one thread, offline."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, cwd=directory
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    result: Line = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def median(runs: list[Line], key: str) -> float:
    return float(statistics.median(run[key] for run in runs))


def rounded(value: float) -> float:
    return float(f"{value:.3g}")


def processor() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()
