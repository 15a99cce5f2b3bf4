"""All that has to be measured on a card, in one short run: about eight minutes on a large one.

    python benchmarks/gpu/run.py                  # with a card
    python benchmarks/gpu/run.py --smoke          # everything but the card's own, on the processor, tiny
    python benchmarks/gpu/run.py --only tests,0.5B --budget 240

The parts, in this order, as long as the budget of seconds lasts:

    tests     tests/devices/test_cuda.py
    exact     first loss of tailor and TRL in float32, before any update
    0.5B 1.5B 8B   SFT with LoRA r=16 on random models of these shapes, two sets (`cls`: a long system prompt
              that all share; `chat`: none): tailor, TRL at its best settings found here (sdpa; flash
              attention and Liger where they are installed), Unsloth where it is installed, A B A B;
              tokens/s, peak memory, share of the measured speed of a bfloat16 product
    memory    one step of a 7B shape on NF4 with LoRA at 1,024 tokens: peak against the planner's forecast
    base      pre-training of the embedded base's shape, tokens/s

Each measurement is a process of its own. One JSON line each goes to benchmarks/results/gpu.jsonl (in a smoke
run nowhere). What cannot run here (no TRL, no Unsloth, no time) is told in its line as `left_out`.
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
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RESULTS = HERE.parent / "results" / "gpu.jsonl"
MEASURE = HERE / "measure.py"
SHAPES = ("0.5B", "1.5B", "8B")
PARTS = ("tests", "exact", "0.5B", "1.5B", "memory", "base", "8B")
ROUNDS = 2
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--budget", type=float, default=480.0, help="seconds")
    given = parser.parse_args()
    ends_at = time.monotonic() + given.budget
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        for part in given.only.split(","):
            for line in lines_of(part, Path(folder), ends_at, is_smoke=given.smoke):
                line = {"part": part, **line, **about()}
                print(json.dumps(line), flush=True)
                failed |= line.get("is_exact") is False or "failed" in line
                if not given.smoke:
                    RESULTS.parent.mkdir(exist_ok=True)
                    with RESULTS.open("a", encoding="utf-8") as stream:
                        stream.write(json.dumps(line) + "\n")
    if failed:
        sys.exit("Something failed or is not exact.")


def lines_of(part: str, folder: Path, ends_at: float, *, is_smoke: bool) -> list[Line]:
    left = ends_at - time.monotonic()
    if left < 20 and not is_smoke:
        return [{"left_out": "no time left"}]
    if part == "tests":
        return [tests(left)]
    if part == "exact":
        return [exact(folder, left, is_smoke=is_smoke)]
    if part in SHAPES:
        return [compare(part, name, folder, ends_at, is_smoke=is_smoke) for name in ("cls", "chat")]
    return [measured(part, "tailor", "", folder, left, is_smoke=is_smoke)]


def tests(left: float) -> Line:
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-m", "gpu", "tests/devices/test_cuda.py"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT, timeout=left)
    except subprocess.TimeoutExpired:
        return {"left_out": "the tests took longer than there was time"}
    told = done.stdout.strip().splitlines()
    line: Line = {"summary": told[-1] if told else ""}
    return line | ({"failed": told[-40:]} if done.returncode not in (0, 5) else {})


def exact(folder: Path, left: float, *, is_smoke: bool) -> Line:
    """Both engines' first loss in float32."""
    shape = "0.5B"
    ours = measured(shape, "tailor", "cls float32", folder, left, is_smoke=is_smoke)
    theirs = measured(shape, "trl", "cls float32", folder, left, is_smoke=is_smoke)
    if "losses" not in ours or "losses" not in theirs:
        return {"tailor": ours, "trl": theirs}
    difference = abs(ours["losses"][0] - theirs["losses"][0]) / theirs["losses"][0]
    return {"relative_loss_difference": difference, "is_exact": difference < 1e-4}


def compare(shape: str, name: str, folder: Path, ends_at: float, *, is_smoke: bool) -> Line:
    """tailor and its opponents in turn; of TRL the best of its settings."""
    opponents = [("trl", f"{name} sdpa")]
    opponents += [("trl", f"{name} flash")] if find_spec("flash_attn") else []
    opponents += [("trl", f"{name} sdpa-liger")] if find_spec("liger_kernel") else []
    opponents += [("unsloth", name)] if find_spec("unsloth") else []
    runs: dict[str, list[Line]] = {}
    for _ in range(1 if is_smoke else ROUNDS):
        for engine, setting in [("tailor", name), *opponents]:
            left = ends_at - time.monotonic()
            run = measured(shape, engine, setting, folder, left, is_smoke=is_smoke)
            runs.setdefault(f"{engine} {setting}".removesuffix(f" {name}"), []).append(run)
    line: Line = {"shape": shape, "set": name, "runs": runs}
    speeds = {
        key: statistics.median(run["tokens_per_second"] for run in found)
        for key, found in runs.items()
        if all("tokens_per_second" in run for run in found)
    }
    others = {key: speed for key, speed in speeds.items() if key != "tailor"}
    if "tailor" in speeds and others:
        best = max(others, key=lambda key: others[key])
        line |= {"best_opponent": best, "ratio": round(speeds["tailor"] / others[best], 2)}
    return line


def measured(what: str, engine: str, setting: str, folder: Path, left: float, *, is_smoke: bool) -> Line:
    """What `measure.py` finds, in a process of its own."""
    if engine == "trl" and find_spec("trl") is None:
        return {"left_out": "TRL is not installed"}
    if left < 20 and not is_smoke:
        return {"left_out": "no time left"}
    command = [sys.executable, "-W", "ignore", str(MEASURE), what, engine, setting, str(folder)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    if is_smoke:
        command.append("--smoke")
        environment |= {"TAILOR_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            command, env=environment, check=False, capture_output=True, text=True,
            timeout=max(left, 20) if not is_smoke else 300,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"left_out": "took longer than there was time"}
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-8:]}
    found: Line = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def about() -> Line:
    """Machine and versions."""
    import torch

    versions = {}
    for package in ("torch", "transformers", "trl", "unsloth", "flash-attn", "liger-kernel", "triton"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"card": card, "cuda": torch.version.cuda, "versions": versions, "at": time.strftime("%Y-%m-%d")}


if __name__ == "__main__":
    main()
