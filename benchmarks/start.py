"""From the start of a job to its first step, small model: tailor against a TRL script on the same data.

1,200 mails (`examples/emails`), the embedded base, LoRA of rank 64, batches of 16, all cores, by the clock.
TRL: from the start of the script's process until its first step is logged. tailor, twice: `job`, a job
sent to a server that runs, from the upload until the first step stands among its events (how jobs start);
`server`, the same with the server's own start, its process included (what `tailor train` does). Both read,
check and tokenise the whole file. Processor seconds of all processes stand beside, since on a busy machine
the clock tells who else wants it. Exactness: with a file of one batch the first losses are equal.

    python benchmarks/start.py [--smoke] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import HERE, Line, append, head, rounded

GOAL = 0.5
MAILS = HERE.parent / "examples" / "emails" / "train.jsonl"
BATCH_SIZE = 16
WARM_SECONDS = 20
TOLERANCE = 1e-5


def run(what: str, file: Path, directory: Path) -> Line:
    """Seconds until the first step, and its loss."""
    from tailor.models import embedded_directory

    script = HERE / "engines" / ("start_trl.py" if what == "trl" else "start_tailor.py")
    first = [embedded_directory()] if what == "trl" else [tempfile.mkdtemp(dir=directory)]
    last = [] if what == "trl" else [WARM_SECONDS if what == "job" else 0]
    command = list(map(str, [sys.executable, "-W", "ignore", script, *first, file, BATCH_SIZE, *last]))
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": tempfile.mkdtemp(dir=directory)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    begun = time.perf_counter()
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=directory,
            start_new_session=True,  # as tailor's workers are: Linux shares a busy machine by sessions
        )
        assert process.stdout is not None
        found = next((json.loads(line) for line in process.stdout if line.startswith('{"')), None)
        seconds = time.perf_counter() - begun
        process.communicate()
    if found is None:
        sys.exit(f"{what}: {(directory / 'log').read_text()[-3000:]}")
    return found | {"seconds": found["seconds"] if what == "job" else seconds}


def exactness(directory: Path) -> Line:
    """One batch, so that the order of the file does not matter."""
    file = directory / "batch.jsonl"
    file.write_text("".join(MAILS.read_text().splitlines(keepends=True)[:BATCH_SIZE]))
    ours, theirs = run("server", file, directory)["loss"], run("trl", file, directory)["loss"]
    difference = abs(ours - theirs) / theirs
    return {
        "losses": [ours, theirs],
        "relative_loss_difference": difference,
        "is_exact": difference < TOLERANCE,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="exactness only")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    line = head("start") | {"goal": GOAL}
    line["machine"] = line["machine"].replace("1 thread", "all")
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        line |= exactness(directory)
        if not arguments.smoke:
            runs: dict[str, list[Line]] = {"job": [], "trl": [], "server": []}
            for _ in range(arguments.rounds):
                for what, found in runs.items():
                    found.append(run(what, MAILS, directory))
            line |= summary(runs)
            append(line)
    print(json.dumps(line, indent=1))
    if not line["is_exact"]:
        sys.exit("The losses differ.")


def summary(runs: dict[str, list[Line]]) -> Line:
    line: Line = {}
    for unit in ("seconds", "processor_seconds"):
        line[unit] = {what: [rounded(run[unit]) for run in found] for what, found in runs.items()}
        for what in ("job", "server"):
            ratios = [ours[unit] / theirs[unit] for ours, theirs in zip(runs[what], runs["trl"], strict=True)]
            line[f"{what}_over_trl_{unit}"] = {
                "median": rounded(statistics.median(ratios)),
                "low": rounded(min(ratios)),
                "high": rounded(max(ratios)),
            }
    return line


if __name__ == "__main__":
    main()
