"""One measurement of `run.py`, in its own process: python measure.py WHAT ENGINE SETTING FOLDER [--smoke].

Prints one JSON line: losses, tokens a second after two steps to warm up (kernels are compiled in the first),
peak memory of the card, and what share of the card's speed at a bfloat16 product the linear layers and the
output layer use on the tokens that are computed.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

Line = dict[str, Any]
Step = tuple[float, int, float]
"""Loss, tokens of the examples, seconds."""

SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden": 64, "layers": 2, "mlp": 128, "heads": 4, "kv": 2, "vocabulary": 8192},
    "0.5B": {"hidden": 896, "layers": 24, "mlp": 4864, "heads": 14, "kv": 2, "vocabulary": 151_936},
    "1.5B": {"hidden": 1536, "layers": 28, "mlp": 8960, "heads": 12, "kv": 2, "vocabulary": 151_936},
    "7B": {"hidden": 4096, "layers": 32, "mlp": 11_008, "heads": 32, "kv": 32, "vocabulary": 32_000},
    "8B": {"hidden": 4096, "layers": 32, "mlp": 14_336, "heads": 32, "kv": 8, "vocabulary": 128_256},
    "base": {"hidden": 576, "layers": 30, "mlp": 1536, "heads": 9, "kv": 3, "vocabulary": 8192},
}
"""Qwen2.5-0.5B and 1.5B, Llama 2 7B, Llama 3.1 8B, SmolLM2-135M with a small vocabulary."""

WARM_UP, TIMED, BATCH = 2, 6, 16
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
HAS_CARD = torch.cuda.is_available()


def main() -> None:
    what, engine, setting, folder = sys.argv[1:5]
    is_smoke = "--smoke" in sys.argv
    if what == "memory":
        print(json.dumps(memory(Path(folder), is_smoke=is_smoke)))
        return
    name, _, how = setting.partition(" ")
    shape = "tiny" if is_smoke else what
    base = written(shape, Path(folder))
    rows = examples(name or "text", SHAPES[shape]["vocabulary"], scale=0.1 if is_smoke else 1.0)
    engines: dict[str, Callable[..., Iterator[Step]]] = {"tailor": tailor, "trl": trl, "unsloth": unsloth}
    found = list(engines[engine](base, rows, "full" if what == "base" else how))
    more = usage(shape, rows, found, is_full=what == "base") if engine == "tailor" else {}
    print(json.dumps(summary(found) | more))


def summary(steps: list[Step]) -> Line:
    line: Line = {"losses": [round(loss, 6) for loss, _, _ in steps]}
    timed = steps[WARM_UP:]
    if timed:
        line["tokens_per_second"] = round(sum(n for _, n, _ in timed) / sum(s for _, _, s in timed), 1)
        line["seconds_to_warm_up"] = round(sum(s for _, _, s in steps[:WARM_UP]), 1)
    if HAS_CARD:
        line["peak_gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
        line["peak_reserved_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 2)
    return line


def usage(shape: str, rows: list[Line], steps: list[Step], *, is_full: bool) -> Line:
    """Share of the measured ceiling: 4 operations a frozen weight and computed token, 6 a trained one."""
    from tailor.training.batches import pack
    from tailor.training.fitting import matrix_speed

    timed = steps[WARM_UP:]
    if not timed:
        return {}
    size = SHAPES[shape]
    head = size["hidden"] // size["heads"]
    layer = size["hidden"] * (2 * size["hidden"] + 2 * head * size["kv"] + 3 * size["mlp"])
    begins = range(WARM_UP * BATCH, (WARM_UP + TIMED) * BATCH, BATCH)
    batches = [pack(tokenized(rows[begin : begin + BATCH])) for begin in begins]
    tokens, targets = (sum(len(getattr(b, n)) for b in batches) for n in ("ids_T", "targets_N"))
    flops = (6.0 if is_full else 4.0) * (
        size["layers"] * layer * tokens + size["vocabulary"] * size["hidden"] * targets
    )
    speed = matrix_speed("bfloat16" if HAS_CARD else "float32")
    share = flops / sum(seconds for _, _, seconds in timed) / speed
    return {"computed_tokens": tokens, "product_flops": round(speed), "share_of_products": round(share, 3)}


def tailor(base: Path, rows: list[Line], how: str) -> Iterator[Step]:
    from tailor.training import Learner, Recipe, make_deterministic

    if how != "full":
        make_deterministic(1)
    recipe = Recipe(
        num_epochs=1, batch_size=BATCH, num_steps=WARM_UP + TIMED, learning_rate=1e-4,
        dtype="bfloat16" if HAS_CARD and how != "float32" else "float32", max_context_tokens=4096,
        checkpoint_every_steps=100, max_microbatch_tokens=16_384, shard_size=BATCH,
        adapter="full" if how == "full" else "lora", recompute_activations=is_large(base),
    )  # fmt: skip
    learner = Learner.open(base, recipe)
    items = tokenized(rows)

    def step(number: int) -> tuple[float, int]:
        result = learner.forward_backward(items[number * BATCH : (number + 1) * BATCH], step=number)
        learner.step(recipe.learning_rate, gradient_norm=result.gradient_norm)
        return result.loss, result.num_tokens

    yield from timed(step, once=how == "float32")


def is_large(base: Path) -> bool:
    """Whether activations are computed again by every engine: they would not fit."""
    return base.name == "8B"


def trl(base: Path, rows: list[Line], how: str) -> Iterator[Step]:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    is_exact = how == "float32"
    model = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.float32 if is_exact or not HAS_CARD else torch.bfloat16,
        attn_implementation="flash_attention_2" if how == "flash" else "sdpa",
    )
    settings = SFTConfig(
        output_dir=str(base.parent / "trl"), use_cpu=not HAS_CARD, bf16=HAS_CARD and not is_exact,
        per_device_train_batch_size=BATCH, padding_free=how == "flash",
        gradient_checkpointing=is_large(base), use_liger_kernel=how.endswith("liger"),
        max_length=None, report_to=[],
    )  # fmt: skip
    yield from trainer_steps(SFTTrainer, settings, model, AutoTokenizer.from_pretrained(base), rows, is_exact)


def unsloth(base: Path, rows: list[Line], how: str) -> Iterator[Step]:
    from unsloth import FastLanguageModel  # isort: skip
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = FastLanguageModel.from_pretrained(
        str(base), max_seq_length=4096, dtype=torch.bfloat16, load_in_4bit=False
    )
    recompute = "unsloth" if is_large(base) else False
    model = FastLanguageModel.get_peft_model(
        model, r=16, lora_alpha=32, target_modules=TARGETS, use_gradient_checkpointing=recompute
    )
    settings = SFTConfig(
        output_dir=str(base.parent / "unsloth"), bf16=True, per_device_train_batch_size=BATCH,
        max_length=None, report_to=[],
    )  # fmt: skip
    yield from trainer_steps(SFTTrainer, settings, model, tokenizer, rows, False, with_adapter=False)


def trainer_steps(
    kind: Any,
    settings: Any,
    model: Any,
    tokenizer: Any,
    rows: list[Line],
    once: bool,
    *,
    with_adapter: bool = True,
) -> Iterator[Step]:
    from datasets import Dataset
    from peft import LoraConfig

    lora = LoraConfig(r=16, lora_alpha=32, target_modules=TARGETS, task_type="CAUSAL_LM")
    trainer = kind(
        model=model, args=settings, train_dataset=Dataset.from_list(rows), processing_class=tokenizer,
        peft_config=lora if with_adapter else None,
    )  # fmt: skip
    trainer.create_optimizer_and_scheduler(num_training_steps=WARM_UP + TIMED)
    trainer.current_gradient_accumulation_steps = 1  # set by train(), which we replace to time each step

    def step(number: int) -> tuple[float, int]:
        batch = rows[number * BATCH : (number + 1) * BATCH]
        loss = trainer.training_step(trainer.model, trainer.data_collator(batch))
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.model.zero_grad()
        return float(loss), sum(len(row["input_ids"]) for row in batch)

    yield from timed(step, once=once)


def timed(step: Callable[[int], tuple[float, int]], *, once: bool) -> Iterator[Step]:
    for number in range(1 if once else WARM_UP + TIMED):
        begun = time.perf_counter()
        loss, num_tokens = step(number)
        if HAS_CARD:
            torch.cuda.synchronize()
        yield loss, num_tokens, time.perf_counter() - begun


def memory(folder: Path, *, is_smoke: bool) -> Line:
    """Peak of one NF4 step against the forecast; the model is drawn small, but for its shape."""
    from tailor.models import inspect
    from tailor.training import Learner, Recipe
    from tailor.training.card_planning import estimate_card_memory
    from tailor.training.planning import load_of

    shape = "tiny" if is_smoke else "7B"
    base, length = written(shape, folder), 1024
    dtype = "bfloat16" if HAS_CARD else "float32"
    recipe = Recipe(
        num_epochs=1, batch_size=1, num_steps=1, learning_rate=1e-4, dtype=dtype, max_context_tokens=length,
        checkpoint_every_steps=1, quantization="nf4", recompute_activations=True,
    )  # fmt: skip
    dice = random.Random(1)
    ids = [dice.randrange(3, SHAPES[shape]["vocabulary"]) for _ in range(length)]
    items = tokenized([{"input_ids": ids, "labels": ids}])
    begun = time.perf_counter()
    learner = Learner.open(base, recipe)
    opened = time.perf_counter() - begun
    result = learner.forward_backward(items, step=0)
    learner.step(1e-4, gradient_norm=result.gradient_norm)
    forecast = estimate_card_memory(inspect(base), recipe, load_of(items, share=True)).total_bytes
    line: Line = {
        "loss": result.loss,
        "forecast_gb": round(forecast / 1e9, 2),
        "seconds_to_open": round(opened, 1),
    }
    if HAS_CARD:
        peak = torch.cuda.max_memory_reserved()
        line |= {"peak_gb": round(peak / 1e9, 2), "forecast_over_peak": round(forecast / peak, 3)}
    return line


def tokenized(rows: list[Line]) -> list[Any]:
    from tailor.training import TokenizedExample

    made = []
    for line, row in enumerate(rows, start=1):
        weights = (torch.tensor(row["labels"]) != -100).float()
        weights[0] = 0.0
        ids = torch.tensor(row["input_ids"])
        made.append(TokenizedExample(line=line, fingerprint=f"{line}", ids=ids, weights=weights))
    return made


def examples(name: str, vocabulary: int, *, scale: float) -> list[Line]:
    """Random tokens with the lengths of a set."""
    dice = random.Random(4)

    def tokens(least: int, most: int) -> list[int]:
        count = max(3, round(scale * dice.randint(least, most)))
        return [dice.randrange(3, vocabulary) for _ in range(count)]

    system, rows = tokens(600, 600), []
    for _ in range(BATCH * (WARM_UP + TIMED)):
        if name == "cls":
            prompt, answer = system + tokens(50, 200), tokens(3, 8)
        elif name == "chat":
            prompt, answer = tokens(50, 300), tokens(150, 600)
        else:
            prompt, answer = tokens(1, 1), tokens(1000, 1024)
        rows.append({"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer})
    return rows


def written(shape: str, folder: Path) -> Path:
    """A random Llama of the shape on disk, drawn on the card if there is one; made once."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tailor.models import embedded_directory

    directory = folder / shape
    if directory.is_dir():
        return directory
    for older in folder.glob("*B"):  # a large one fills a disk
        shutil.rmtree(older)
    size = SHAPES[shape]
    config = LlamaConfig(
        vocab_size=size["vocabulary"], hidden_size=size["hidden"], intermediate_size=size["mlp"],
        num_hidden_layers=size["layers"], num_attention_heads=size["heads"], num_key_value_heads=size["kv"],
        head_dim=size["hidden"] // size["heads"], max_position_embeddings=8192,
        tie_word_embeddings=size["hidden"] < 4096, bos_token_id=0, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if HAS_CARD else "cpu"):
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    torch.set_default_dtype(torch.float32)
    del model
    if HAS_CARD:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(embedded_directory() / file, directory / file)
    return directory


if __name__ == "__main__":
    main()
