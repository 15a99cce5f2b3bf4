"""Peak memory of a training step: what `training.planning` predicts against what a process really took.

    python benchmarks/memory.py                  # all cases, about ten minutes
    python benchmarks/memory.py --case 0 3       # some of them

Every case is a random model of a Llama's shape, written to disk, then opened and trained for two steps by
another process: one example of `tokens` tokens, a quarter of them targets, one thread. With `teacher` it
learns from the logits of a second copy; with `stranger` it is an opinion whose stranger has so many tokens.
Reported: that process's peak resident memory, the prediction, and their ratio. One JSON line a case goes to
`benchmarks/results/memory.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "memory.jsonl"
SMOL = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
WIDE = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_key_value_heads": 8}
MINI = {"hidden_size": 192, "intermediate_size": 512, "num_attention_heads": 3, "num_key_value_heads": 1}
CASES: tuple[dict[str, Any], ...] = (
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "bfloat16", "adapter": "lora", "tokens": 1024},
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "bfloat16", "adapter": "lora", "tokens": 3072},
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "float32", "adapter": "lora", "tokens": 2048},
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "bfloat16", "adapter": "full", "tokens": 2048},
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "float32", "adapter": "full", "tokens": 1024},
    {"shape": WIDE, "layers": 6, "vocab": 32_000, "dtype": "bfloat16", "adapter": "lora", "tokens": 2048},
    {"shape": WIDE, "layers": 12, "vocab": 32_000, "dtype": "bfloat16", "adapter": "lora", "tokens": 2048,
     "recompute": True},
    {"shape": WIDE, "layers": 12, "vocab": 32_000, "dtype": "bfloat16", "adapter": "lora", "tokens": 1024,
     "quantization": "nf4", "recompute": True},
    {"shape": WIDE, "layers": 12, "vocab": 32_000, "dtype": "bfloat16", "adapter": "lora", "tokens": 1024,
     "quantization": "int8", "recompute": True},
    {"shape": MINI, "layers": 6, "vocab": 8_192, "dtype": "float32", "adapter": "lora", "rank": 64,
     "tokens": 4096},
    {"shape": MINI, "layers": 6, "vocab": 8_192, "dtype": "float32", "adapter": "full", "tokens": 4096},
    {"shape": SMOL, "layers": 6, "vocab": 49_152, "dtype": "bfloat16", "adapter": "dora", "tokens": 2048},
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "float32", "adapter": "lora", "tokens": 1024,
     "teacher": True},
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "bfloat16", "adapter": "lora", "tokens": 2048,
     "teacher": True},
    {"shape": SMOL, "layers": 12, "vocab": 49_152, "dtype": "bfloat16", "adapter": "lora", "tokens": 512,
     "recompute": True, "stranger": 3072},
)  # fmt: skip


def main() -> None:
    """Read the command line and run the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, nargs="+", default=list(range(len(CASES))))
    parser.add_argument("--write", nargs=2, metavar=("FOLDER", "CASE"), help=argparse.SUPPRESS)
    parser.add_argument("--step", nargs=2, metavar=("FOLDER", "CASE"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.write:
        write(Path(given.write[0]), CASES[int(given.write[1])])
    elif given.step:
        step(Path(given.step[0]), CASES[int(given.step[1])])
    else:
        for number in given.case:
            with tempfile.TemporaryDirectory() as folder:
                for what in ("--write", "--step"):
                    command = [sys.executable, __file__, what, folder, str(number)]
                    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def write(directory: Path, case: dict[str, Any]) -> None:
    """A random model of the case's shape."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from tailor.models import embedded_directory

    torch.set_default_dtype(torch.bfloat16)
    shape = case["shape"]
    config = LlamaConfig(
        **shape, num_hidden_layers=case["layers"], vocab_size=case["vocab"], tie_word_embeddings=True,
        max_position_embeddings=8192, head_dim=shape["hidden_size"] // shape["num_attention_heads"],
        bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(embedded_directory() / name, directory / name)


def step(directory: Path, case: dict[str, Any]) -> None:
    """Two steps, and what they took."""
    import torch

    from tailor.models import inspect, load_base
    from tailor.training import Learner, Recipe, TokenizedExample
    from tailor.training.fitting import fit

    torch.set_num_threads(1)
    tokens = case["tokens"]
    recipe = Recipe(
        num_epochs=1, batch_size=1, num_steps=2, learning_rate=1e-4, max_context_tokens=tokens,
        checkpoint_every_steps=2, dtype=case["dtype"], adapter=case["adapter"], rank=case.get("rank", 16),
        recompute_activations=case.get("recompute", False), quantization=case.get("quantization"),
        max_microbatch_tokens=max(tokens, case.get("stranger", 0)), **method_of(case),
    )  # fmt: skip
    teacher = load_base(directory, dtype=recipe.dtype) if recipe.imitation else None
    learner = Learner.open(directory, recipe, teacher=teacher)
    opened = peak_bytes()
    generator = torch.Generator().manual_seed(1)

    def example(tokens: int) -> TokenizedExample:
        ids = torch.randint(3, case["vocab"], (tokens,), generator=generator)
        weights = torch.zeros(tokens)
        weights[-tokens // 4 :] = 1.0
        return TokenizedExample(line=1, fingerprint="1", ids=ids, weights=weights)

    item = item_of(case, example)
    if recipe.method == "kto":
        learner.measure_reference([item])
    for number in range(2):
        began = time.process_time()
        result = learner.forward_backward([item], step=number)
        learner.step(recipe.learning_rate, gradient_norm=result.gradient_norm)
    facts = inspect(directory)
    fitted = fit(facts, recipe, [item], room_bytes=None, num_workers=1, teacher=facts if teacher else None)
    predicted = fitted.memory
    row = {name: value for name, value in case.items() if name != "shape"} | {
        "hidden": case["shape"]["hidden_size"],
        "opened_mib": round(opened / 2**20),
        "measured_mib": round(peak_bytes() / 2**20),
        "predicted_mib": round(predicted.total_bytes / 2**20),
        "step_seconds": round(time.process_time() - began, 3),
        "gflops": round(matrix_speed(learner.loaded.model.dtype) / 1e9, 1),
        "ratio": round(predicted.total_bytes / peak_bytes(), 3),
    }
    print(json.dumps(row), flush=True)
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


def method_of(case: dict[str, Any]) -> dict[str, Any]:
    """What a recipe of the case has beside numbers."""
    from tailor.training import Imitation

    if case.get("teacher"):
        return {"method": "distillation", "imitation": Imitation(teacher="t")}
    return {"method": "kto"} if case.get("stranger") else {}


def item_of(case: dict[str, Any], example: Callable[[int], Any]) -> Any:
    """What the steps are made of."""
    from tailor.data import Lesson
    from tailor.training import TokenizedLesson, TokenizedOpinion

    made = example(case["tokens"])
    known = {"line": made.line, "fingerprint": made.fingerprint, "example": made}
    if case.get("teacher"):
        lesson = Lesson(line=1, messages=({"role": "user", "content": "?"},), item={})
        return TokenizedLesson(**known, prompt_ids=(1, 2), has_answer=True, source=lesson)
    if case.get("stranger"):
        return TokenizedOpinion(**known, stranger=example(case["stranger"]), is_desirable=True)
    return made


def matrix_speed(dtype: Any) -> float:
    """FLOP/s of a matrix product of one thread, by processor time."""
    import torch

    left, right = torch.randn(1024, 1024, dtype=dtype), torch.randn(1024, 1024, dtype=dtype)
    torch.mm(left, right)
    began = time.process_time()
    for _ in range(10):
        torch.mm(left, right)
    return float(10 * 2 * 1024**3 / (time.process_time() - began))


def peak_bytes() -> int:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
