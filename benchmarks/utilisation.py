"""How much of what the processor can multiply a training step on a CPU uses.

A random Llama of SmolLM2-135M's shape, batches of 8, one thread, processor seconds. Counted are the products
of the linear layers on the tokens that are computed (a shared system prompt once), of the adapters and of the
output layer on loss positions, at the least arithmetic: 4 operations a frozen weight (forward, gradient of
the input), 6 a trained one. Attention is left out of the share, and told beside it. The ceiling is the best
square product of the same type, measured before and after each step of the same run; beside it stands what
the layers' own products, which are smaller, reach alone.

    python benchmarks/utilisation.py [--smoke] [--sets cls,chat,full] [--rounds 4]

Exactness: the losses of the steps are those of `sft_lora.py`'s engine; here only that they are finite.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import HERE, Line, append, head, last_line, rounded
from workloads import make_base, write_rows

GOAL = 0.6
SIZES = (1024, 2048)
Shapes = list[tuple[int, int]]


def ceiling(dtype: Any, sizes: tuple[int, ...] = SIZES) -> float:
    """Operations a second of the best square product."""
    import torch

    best = 0.0
    for size in sizes:
        left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
        torch.mm(left, right)
        count = max(1, 2048**3 // size**3)
        begun = time.process_time()
        for _ in range(count):
            torch.mm(left, right)
        best = max(best, 2 * count * size**3 / (time.process_time() - begun))
    return best


def ceiling_of_shapes(dtype: Any, shapes: Shapes, tokens: int) -> float:
    """Operations a second of the layers' own products, forward and of the input's gradient, nothing else."""
    import torch

    count, seconds = 0, 0.0
    for inputs, outputs in sorted(set(shapes)):
        hidden, weight = torch.randn(tokens, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        times = shapes.count((inputs, outputs))
        made = torch.nn.functional.linear(hidden, weight)
        torch.mm(made, weight)
        begun = time.process_time()
        for _ in range(4):
            torch.mm(torch.nn.functional.linear(hidden, weight), weight)
        seconds += times * (time.process_time() - begun) / 4
        count += times * 4 * tokens * inputs * outputs
    return count / seconds


def shapes_of(base: Path) -> Shapes:
    """Inputs and outputs of each linear layer but the output layer."""
    from tailor.models import linear_layers, load_base

    layers = linear_layers(load_base(base).model).values()
    return [(layer.in_features, layer.out_features) for layer in layers]


def operations(learner: Any, batch: Any, shapes: Shapes) -> dict[str, float]:
    """The least of a step, by part."""
    model, recipe = learner.loaded.model, learner.recipe
    tokens, targets = len(batch.ids_T), len(batch.targets_N)
    weights = sum(inputs * outputs for inputs, outputs in shapes)
    adapters = sum(recipe.rank * (inputs + outputs) for inputs, outputs in shapes)
    is_full = recipe.adapter == "full"
    layout = batch.layout
    squares = sum(length * (length + 2 * start_of(layout, at)) for at, length in enumerate(layout.lengths))
    return {
        "linear": (6 if is_full else 4) * weights * tokens,
        "adapters": 0 if is_full else 6 * adapters * tokens,
        "output": (6 if is_full else 4) * learner.loaded.head.weight.numel() * targets,
        # Two products forward and four backward, half of the square hidden by causality.
        "attention": 6 * model.config.hidden_size * model.config.num_hidden_layers * squares,
    }


def start_of(layout: Any, segment: int) -> int:
    """Tokens that a segment looks back at."""
    parent = layout.parents[segment]
    return 0 if parent < 0 else layout.lengths[parent] + start_of(layout, parent)


def measure(base: Path, rows: Path, adapter: str, rounds: int) -> Line:
    """In a process of its own."""
    sys.path.insert(0, str(HERE / "engines"))
    import torch
    from tailor_engine import example, learner_of

    from tailor.training.batches import pack

    torch.set_num_threads(1)
    learner = learner_of({"batch_size": 8, "adapter": adapter, "base": str(base)}, "auto")
    examples = [
        example(line, row["prompt"], row["answer"])
        for line, row in enumerate(json.loads(rows.read_text()), 1)
    ]
    shapes, batch = shapes_of(base), pack(examples)
    found = operations(learner, batch, shapes)
    counted = sum(value for part, value in found.items() if part != "attention")
    dtype = learner.loaded.model.dtype
    shares, losses, speeds = [], [], []
    for step in range(rounds + 1):
        before = ceiling(dtype)
        begun = time.process_time()
        result = learner.forward_backward(examples, step=step)
        learner.step(1e-4, gradient_norm=result.gradient_norm)
        seconds = time.process_time() - begun
        speeds.append(max(before, ceiling(dtype)))
        shares.append(counted / seconds / speeds[-1])
        losses.append(result.loss)
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "computed_tokens": len(batch.ids_T),
        "tokens": sum(each.num_tokens for each in examples),
        "gigaflop": {part: rounded(value / 1e9) for part, value in found.items()},
        "ceiling_gflops": rounded(statistics.median(speeds[1:]) / 1e9),
        "ceiling_of_shapes_gflops": rounded(ceiling_of_shapes(dtype, shapes, len(batch.ids_T)) / 1e9),
        "share": rounded(statistics.median(shares[1:])),
        "spread": [rounded(min(shares[1:])), rounded(max(shares[1:]))],
        "is_exact": all(map(math.isfinite, losses)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="a tiny model, once")
    parser.add_argument("--sets", default="cls,chat,full")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--measure", nargs=3, metavar=("BASE", "ROWS", "ADAPTER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        base, rows, adapter = arguments.measure
        print(json.dumps(measure(Path(base), Path(rows), adapter, arguments.rounds)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        make_base(directory / "base", is_tiny=arguments.smoke)
        for name in arguments.sets.split(","):
            rows = directory / "rows.json"
            write_rows(rows, "chat" if name == "full" else name, 8, directory / "base")
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                "--measure",
                str(directory / "base"),
                str(rows),
            ]
            command += ["full" if name == "full" else "lora"]
            command += ["--rounds", "1" if arguments.smoke else str(arguments.rounds)]
            line = head("utilisation") | {"set": name, "goal": GOAL} | last_line(command, directory)
            print(json.dumps(line, indent=1), flush=True)
            if not arguments.smoke:
                append(line)


if __name__ == "__main__":
    main()
