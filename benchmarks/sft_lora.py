"""Supervised LoRA fine-tuning on a CPU: tailor against TRL on the same tokens.

A random Llama of SmolLM2-135M's shape, LoRA r=16 on all linear layers, 24 examples in batches of 8, loss on
answers only, one thread. Two sets: `cls` (one long shared system prompt, answer of three tokens) and `chat`
(answers longer than prompts). Each run is a process of its own, so that peak memory is its own, and counts
processor seconds, so that other work on the machine does not. The first round tries all of TRL's settings
(bf16 autocast, the base in bf16, and that without padding; no gradient checkpointing, which is slower); the
best of them and tailor then run A B A B.

    python benchmarks/sft_lora.py [--smoke] [--sets cls,chat] [--rounds 2]

Prints the median ratio with its spread and the exactness check (loss of the first step in float32, before any
update), and appends one JSON line to benchmarks/results/sft_lora.jsonl.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "sft_lora.jsonl"
VOCABULARY = 49_152
BATCH_SIZE = 8
TRL_SETTINGS = ("trl-autocast", "trl-bf16", "trl-bf16-unpadded")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny model, float32: exactness only")
    parser.add_argument("--sets", default="cls,chat")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--directory", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.engine:
        print(json.dumps(run(arguments.engine, arguments.sets, arguments.directory)))
        return
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory) / "base"
        make_base(base, is_tiny=arguments.smoke)
        lines = [
            compare(name, base, arguments.rounds, is_smoke=arguments.smoke)
            for name in arguments.sets.split(",")
        ]
    if not arguments.smoke:
        RESULTS.parent.mkdir(exist_ok=True)
        with RESULTS.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    if not all(line["is_exact"] for line in lines):
        sys.exit("The losses differ.")


def compare(name: str, base: Path, rounds: int, *, is_smoke: bool) -> dict[str, Any]:
    """One set: exactness in float32, then the engines in turn."""
    exact = [in_process(engine, name, base) for engine in ("tailor-float32-once", "trl-float32-once")]
    difference = abs(exact[0]["losses"][0] - exact[1]["losses"][0]) / exact[1]["losses"][0]
    line: dict[str, Any] = {
        "benchmark": "sft_lora",
        "set": name,
        "relative_loss_difference": difference,
        "is_exact": difference < 1e-5,
        "machine": f"{processor()}, {os.cpu_count()} cores, 1 thread used",
        "versions": {package: version(package) for package in ("torch", "transformers", "peft", "trl")},
        "at": time.strftime("%Y-%m-%d"),
    }
    if not is_smoke:
        ours = [in_process("tailor", name, base)]
        tried = {setting: in_process(setting, name, base) for setting in TRL_SETTINGS}
        best = max(TRL_SETTINGS, key=lambda setting: tried[setting]["tokens_per_second"])
        theirs = [tried[best]]
        for _ in range(rounds - 1):
            ours.append(in_process("tailor", name, base))
            theirs.append(in_process(best, name, base))
        ratios = [a["tokens_per_second"] / b["tokens_per_second"] for a, b in zip(ours, theirs, strict=True)]
        line |= {
            "ratio": round(statistics.median(ratios), 2),
            "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "tailor": summary(ours),
            "trl": summary(theirs) | {"setting": best},
            "trl_settings_tokens_per_second": {
                setting: round(run["tokens_per_second"], 1) for setting, run in tried.items()
            },
        }
    print(json.dumps(line, indent=1))
    return line


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tokens_per_second": round(median(runs, "tokens_per_second"), 1),
        "peak_memory_gb": round(median(runs, "peak_memory_gb"), 2),
        "losses": runs[0]["losses"],
    }


def median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def in_process(engine: str, name: str, base: Path) -> dict[str, Any]:
    """One engine in a process of its own."""
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--engine",
        engine,
        "--sets",
        name,
        "--directory",
        base,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def run(engine: str, name: str, base: Path) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    rows = examples(name, json.loads((base / "config.json").read_text())["vocab_size"])
    kind, _, rest = engine.partition("-")
    steps = run_tailor(rows, base, rest) if kind == "tailor" else run_trl(rows, base, rest)
    results = []
    for result in steps:
        results.append(result)
        if rest.endswith("once"):
            break
    timed = results[1:]  # the first step warms up
    return {
        "losses": [loss for loss, _, _ in results],
        "tokens_per_second": sum(n for _, n, _ in timed) / sum(s for _, _, s in timed) if timed else None,
        "peak_memory_gb": peak_memory_gb(),
    }


def run_tailor(
    rows: list[dict[str, list[int]]], base: Path, setting: str
) -> Iterator[tuple[float, int, float]]:
    import torch

    from tailor.models import native_dtype
    from tailor.training import Learner, Recipe, TokenizedExample, make_deterministic

    make_deterministic(1)
    tokenized = []
    for line, row in enumerate(rows, start=1):
        labels = torch.tensor(row["labels"])
        weights = (labels != -100).float()
        ids = torch.tensor(row["input_ids"])
        tokenized.append(TokenizedExample(line=line, fingerprint=f"{line}", ids=ids, weights=weights))
    recipe = Recipe(
        num_epochs=1,
        batch_size=BATCH_SIZE,
        num_steps=4,
        learning_rate=1e-4,
        dtype="float32" if setting else native_dtype(),
        max_context_tokens=1024,
        checkpoint_every_steps=4,
    )
    learner = Learner.open(base, recipe)
    batches = [tokenized[i : i + BATCH_SIZE] for i in range(0, len(tokenized), BATCH_SIZE)]
    for step, batch in enumerate([batches[0], *batches]):
        begin = time.process_time()
        result = learner.forward_backward(batch, step=step)
        learner.step(recipe.learning_rate, gradient_norm=result.gradient_norm)
        yield result.loss, result.num_tokens, time.process_time() - begin


def run_trl(rows: list[dict[str, list[int]]], base: Path, setting: str) -> Iterator[tuple[float, int, float]]:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.bfloat16 if setting.startswith("bf16") else torch.float32,
        attn_implementation="sdpa",
    )
    arguments = SFTConfig(
        output_dir=str(base.parent / "trl"),
        use_cpu=True,
        bf16=not setting.startswith("float32"),
        per_device_train_batch_size=BATCH_SIZE,
        padding_free=setting.endswith("unpadded"),
        gradient_checkpointing=False,
        max_length=None,
        report_to=[],
    )
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"),
    )
    trainer.create_optimizer_and_scheduler(num_training_steps=4)
    trainer.current_gradient_accumulation_steps = 1  # set by train(), which we replace to time each step
    batches = [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]
    for batch in [batches[0], *batches]:
        begin = time.process_time()
        loss = trainer.training_step(trainer.model, trainer.data_collator(batch))
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.model.zero_grad()
        seconds = time.process_time() - begin
        yield float(loss), sum(len(row["input_ids"]) for row in batch), seconds


def examples(name: str, vocabulary: int) -> list[dict[str, list[int]]]:
    """24 examples of random tokens with the lengths of the two sets."""
    dice = random.Random(4)

    def tokens(count: int) -> list[int]:
        return [dice.randrange(3, vocabulary) for _ in range(count)]

    system = tokens(120)
    rows = []
    for _ in range(24):
        if name == "cls":
            prompt, answer = system + tokens(dice.randint(20, 70)), tokens(3)
        else:
            prompt, answer = tokens(dice.randint(25, 95)), tokens(dice.randint(70, 150))
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


def make_base(directory: Path, *, is_tiny: bool) -> None:
    """A random base with a tokenizer that is never used."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from tailor.models import embedded_directory

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192 if is_tiny else VOCABULARY,
        hidden_size=64 if is_tiny else 576,
        intermediate_size=128 if is_tiny else 1536,
        num_hidden_layers=2 if is_tiny else 30,
        num_attention_heads=4 if is_tiny else 9,
        num_key_value_heads=2 if is_tiny else 3,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(embedded_directory() / file, directory / file)


def peak_memory_gb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 2**20


def processor() -> str:
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
