"""Training on a rounded base: memory of a whole step, and our layers against bitsandbytes and plain ones.

    python benchmarks/quantized.py memory     # peak of one NF4 + LoRA step of a 1B-shaped model
    python benchmarks/quantized.py layers     # speed and exactness of one layer, one thread

Memory: a random model of Llama-3.2-1B's shape is written in bfloat16 (2.5 GB, in a process of its own).
Another process loads it as NF4, attaches LoRA of rank 16 to all linear layers and makes one optimiser step on
one example of 1,024 tokens, all of them targets, recomputing activations as jobs on a rounded base do.
Reported is that process's peak resident memory, everything included.

Layers: 2,048 to 8,192 features, processor time of the fastest of five runs. bitsandbytes is compared if it is
installed (`pip install bitsandbytes==0.50.2`); nothing of tailor needs it.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SHAPE: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
NUM_TOKENS = 1024
LIMIT_BYTES = 4 * 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["memory", "layers", "write", "step"])
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--quantization", default="nf4", choices=["nf4", "int8", "none"])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    asked = parser.parse_args()
    if asked.what == "layers":
        layers()
    elif asked.what == "write":
        write(asked.directory)
    elif asked.what == "step":
        step(asked.directory, asked.quantization, asked.dtype)
    else:
        memory(asked.quantization, asked.dtype)


def memory(quantization: str, dtype: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for what in ("write", "step"):
            command = [sys.executable, __file__, what, "--directory", folder]
            options = ["--quantization", quantization, "--dtype", dtype] if what == "step" else []
            subprocess.run([*command, *options], check=True)


def write(directory: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tailor.models import embedded_directory

    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(LlamaConfig(**SHAPE)).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(embedded_directory() / name, directory / name)


def step(directory: Path, quantization: str, dtype: str) -> None:
    from tailor.training import Learner, Recipe, TokenizedExample

    started = time.perf_counter()
    recipe = Recipe(
        num_epochs=1,
        batch_size=1,
        num_steps=1,
        learning_rate=1e-4,
        max_context_tokens=NUM_TOKENS,
        checkpoint_every_steps=1,
        dtype=dtype,
        recompute_activations=True,
        quantization=None if quantization == "none" else quantization,  # type: ignore[arg-type]
    )
    learner = Learner.open(directory, recipe)
    loaded_at, after_loading = time.perf_counter(), peak_bytes()
    ids = torch.randint(3, SHAPE["vocab_size"], (NUM_TOKENS,), generator=torch.Generator().manual_seed(1))
    weights = torch.ones(NUM_TOKENS)
    weights[0] = 0.0
    example = TokenizedExample(line=1, fingerprint="1", ids=ids, weights=weights)
    result = learner.forward_backward([example], step=0)
    learner.step(recipe.learning_rate, gradient_norm=result.gradient_norm)
    row = {
        "quantization": quantization,
        "dtype": dtype,
        "loss": round(result.loss, 3),
        "peak_bytes_after_loading": after_loading,
        "peak_bytes": peak_bytes(),
        "fits_4_gb": peak_bytes() <= LIMIT_BYTES,
        "load_seconds": round(loaded_at - started, 1),
        "step_seconds": round(time.perf_counter() - loaded_at, 1),
        "num_threads": torch.get_num_threads(),
    }
    print(json.dumps(row))


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def layers() -> None:
    from tailor.models.quantized import quantized

    torch.set_num_threads(1)
    torch.manual_seed(0)
    weight = torch.randn(8192, 2048) * 0.02
    for dtype in (torch.bfloat16, torch.float32):
        made = {kind: quantized(kind, weight, None, dtype) for kind in ("int8", "nf4")}
        made |= _bitsandbytes(weight, dtype)
        plain = torch.nn.Linear(2048, 8192, bias=False, dtype=dtype).requires_grad_(False)
        plain.weight.copy_(weight)
        for num_tokens in (1, 16, 512):
            x, grad = torch.randn(num_tokens, 2048, dtype=dtype), torch.randn(num_tokens, 8192, dtype=dtype)
            for name, layer in {"plain": plain, **made}.items():
                row = {"dtype": str(dtype), "num_tokens": num_tokens, "layer": name}
                row |= {"train_ms": _milliseconds(lambda: _both_ways(layer, x, grad))}  # noqa: B023
                layer.eval()
                with torch.no_grad():
                    row |= {"answer_ms": _milliseconds(lambda: layer(x))}  # noqa: B023
                    row |= {"rounding": _relative(layer(x), plain(x))}
                    if hasattr(layer, "rounded"):
                        row |= {"beyond_rounding": _relative(layer(x), x @ layer.rounded.t())}
                print(json.dumps(row))


def _bitsandbytes(weight: torch.Tensor, dtype: torch.dtype) -> dict[str, Any]:
    try:
        import bitsandbytes
    except ImportError:
        return {}
    nf4 = bitsandbytes.nn.Linear4bit(2048, 8192, bias=False, compute_dtype=dtype, quant_type="nf4")
    nf4.load_state_dict({"weight": weight.to(dtype)})
    nf4 = nf4.to("cpu")
    state = nf4.weight.quant_state
    nf4.rounded = bitsandbytes.functional.dequantize_4bit(nf4.weight.data, state).to(dtype)
    int8 = bitsandbytes.nn.Linear8bitLt(2048, 8192, bias=False, has_fp16_weights=False)
    int8.load_state_dict({"weight": weight.to(dtype)})
    return {"bitsandbytes nf4": nf4, "bitsandbytes int8": int8.to("cpu")}


def _both_ways(layer: Any, x: torch.Tensor, grad: torch.Tensor) -> None:
    layer.train()
    x = x.detach().requires_grad_(True)
    torch.autograd.grad(layer(x), x, grad)


def _milliseconds(run: Callable[[], object]) -> float:
    run()
    taken = []
    for _ in range(5):
        begin = time.process_time()
        run()
        taken.append(time.process_time() - begin)
    return round(min(taken) * 1e3, 1)


def _relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return round(float((found - wanted).float().norm() / wanted.float().norm()), 6)


if __name__ == "__main__":
    main()
