"""The part of a measurement that runs inside an engine's process: steps, processor seconds, peak memory.

Called as `python ENGINE.py JOB.json SETTING`; the last line printed is the result. Needs only the standard
library and torch, since it runs in every opponent's environment.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LORA_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
LEARNING_RATE = 1e-4


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A trainer that is ready."""

    step: Callable[[list[Row]], float]
    """Loss before the update; makes the update."""

    seconds_before: float = 0.0
    """Processor seconds of work on all rows that belongs to training, such as a reference's likelihoods."""


Prepare = Callable[[Row, str, list[Row]], Prepared]


def main(tasks: dict[str, Prepare]) -> None:
    """Run the job of the command line."""
    import torch

    job, setting = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    torch.set_num_threads(1)
    rows = json.loads(Path(job["rows"]).read_text())
    prepared = tasks[job["task"]](job, setting, rows)
    result = exactly(prepared, job, rows) if job["is_exact"] else timed(prepared, job, rows)
    print()
    print(json.dumps(result | {"peak_memory_gb": peak_memory_gb()}))


def exactly(prepared: Prepared, job: Row, rows: list[Row]) -> Row:
    """Losses of a few updates on one batch: the first shows the loss, the others the gradients too."""
    batch = rows[: job["batch_size"]]
    return {"losses": [prepared.step(batch) for _ in range(job["num_steps"])]}


def timed(prepared: Prepared, job: Row, rows: list[Row]) -> Row:
    """Each batch once, after a step to warm up: on a small batch, unless kernels are made for a size."""
    size = job["batch_size"]
    batches = [rows[begin : begin + size] for begin in range(0, len(rows), size)][: job["num_steps"]]
    prepared.step(batches[0] if "compiled" in sys.argv[2] else batches[0][: max(2, size // 4)])
    losses, seconds = [], []
    for batch in batches:
        begun = time.process_time()
        losses.append(prepared.step(batch))
        seconds.append(time.process_time() - begun)
    tokens = sum(num_tokens(row) for batch in batches for row in batch)
    share = sum(map(len, batches)) / len(rows)
    total = sum(seconds) + share * prepared.seconds_before
    return {
        "losses": losses,
        "step_seconds": [round(each, 3) for each in seconds],
        "seconds_before": round(prepared.seconds_before, 3),
        "tokens": tokens,
        "tokens_per_second": tokens / total,
    }


def num_tokens(row: Row) -> int:
    """Of all sequences that a row stands for."""
    if "chosen" in row:
        return 2 * len(row["prompt"]) + len(row["chosen"]) + len(row["rejected"])
    return len(row["prompt"]) + len(row["answer"])


def start_from(model: Any, file: str | None) -> None:
    """Put the common adapter in place of the one that PEFT has drawn."""
    if file is None:
        return
    import torch
    from safetensors.torch import load_file

    start = load_file(file)
    own = {
        name.replace(".default", "").removeprefix("base_model.model."): parameter
        for name, parameter in model.named_parameters()
        if "lora_" in name
    }
    assert own.keys() == start.keys(), sorted(own.keys() ^ start.keys())[:4]
    with torch.no_grad():
        for name, value in start.items():
            own[name].copy_(value)


def trainer_step(trainer: Any, collate: Callable[[list[Row]], Any]) -> Callable[[list[Row]], float]:
    """One update as the loop of transformers' Trainer makes it, without its logging."""
    import torch

    trainer.create_optimizer_and_scheduler(num_training_steps=1000)
    trainer.current_gradient_accumulation_steps = 1  # set by train(), which this replaces
    parameters = [each for each in trainer.model.parameters() if each.requires_grad]

    def step(rows: list[Row]) -> float:
        loss = trainer.training_step(trainer.model, collate(rows), None)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        trainer.optimizer.step()
        trainer.model.zero_grad()
        return float(loss)

    return step


def labelled(rows: list[Row]) -> list[Row]:
    """Rows of the supervised sets as `input_ids` and `labels`."""
    return [
        {"input_ids": row["prompt"] + row["answer"], "labels": [-100] * len(row["prompt"]) + row["answer"]}
        for row in rows
    ]


def peak_memory_gb() -> float:
    """Of this process so far."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 2**20
