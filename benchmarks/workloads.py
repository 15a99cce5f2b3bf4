"""What the rows train on: random tokens with the lengths of real data, and random models of a real shape.

Every engine gets the same token ids, the same loss positions and the same batches, from one JSON file.
"""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

VOCABULARY = 49_152
MAX_ANSWER = 160
"""Most tokens of a tried answer; what dr_grpo divides by."""

Row = dict[str, Any]


class Dice:
    """Random tokens, the same for everyone."""

    def __init__(self, vocabulary: int) -> None:
        self._dice, self._vocabulary = random.Random(4), vocabulary

    def between(self, low: int, high: int) -> int:
        return self._dice.randint(low, high)

    def tokens(self, count: int) -> list[int]:
        return [self._dice.randrange(3, self._vocabulary) for _ in range(count)]

    def number(self) -> float:
        return self._dice.random()


def classifications(count: int, vocabulary: int) -> list[Row]:
    """One long shared system prompt, answers of three tokens."""
    dice = Dice(vocabulary)
    system = dice.tokens(120)
    return [
        {"prompt": system + dice.tokens(dice.between(20, 70)), "answer": dice.tokens(3)} for _ in range(count)
    ]


def chats(count: int, vocabulary: int) -> list[Row]:
    """Nothing in common, answers longer than prompts."""
    dice = Dice(vocabulary)
    dice.tokens(120)
    return [
        {"prompt": dice.tokens(dice.between(25, 95)), "answer": dice.tokens(dice.between(70, 150))}
        for _ in range(count)
    ]


def pairs(count: int, vocabulary: int) -> list[Row]:
    """Each prompt with two answers; the mean lengths of `hh_harmless`, 135 and 54 tokens."""
    dice = Dice(vocabulary)
    return [
        {
            "prompt": dice.tokens(dice.between(25, 245)),
            "chosen": dice.tokens(dice.between(18, 90)),
            "rejected": dice.tokens(dice.between(18, 90)),
        }
        for _ in range(count)
    ]


def groups(count: int, vocabulary: int, *, size: int = 8) -> list[Row]:
    """Prompts of a school problem's length, `size` tried answers to each, rewards of 0 or 1.

    `old` is how likely each token was when it was drawn; only the exactness check looks at it, since a loss
    whose answers are the model's own has the same value whatever the model.
    """
    dice = Dice(vocabulary)
    rows = []
    for _ in range(count // size):
        prompt = dice.tokens(dice.between(60, 140))
        rewards = [float(dice.number() < 0.5) for _ in range(size)]
        rewards[:2] = [0.0, 1.0]
        for reward in rewards:
            answer = dice.tokens(dice.between(60, MAX_ANSWER))
            old = [-9.0 - 0.2 * dice.number() for _ in answer]
            advantage = reward - sum(rewards) / size
            rows.append({"prompt": prompt, "answer": answer, "advantage": advantage, "old": old})
    return rows


SETS = {"cls": classifications, "chat": chats, "pairs": pairs, "groups": groups}


def make_base(directory: Path, *, is_tiny: bool) -> None:
    """A random Llama of SmolLM2-135M's shape in float32, and beside it the same in bfloat16.

    It has the tokenizer of the embedded base, which is never used.
    """
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
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=0,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for dtype, name in ((torch.float32, directory), (torch.bfloat16, bf16_of(directory))):
        model.to(dtype).save_pretrained(name)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copyfile(embedded_directory() / file, name / file)


def bf16_of(base: Path) -> Path:
    """The same model in bfloat16."""
    return base.with_name(base.name + "-bf16")


def make_start(base: Path, file: Path) -> None:
    """A LoRA adapter that is not zero, for all engines to start the exactness check from."""
    import torch
    from safetensors.torch import save_file

    from tailor.training import Learner, Recipe

    recipe = Recipe(
        num_epochs=1, batch_size=1, num_steps=1, learning_rate=1e-4, max_context_tokens=1024,
        checkpoint_every_steps=1,
    )  # fmt: skip
    torch.manual_seed(1)
    values = {
        common_name(name): torch.randn_like(value) * (0.02 if "lora_B" in name else value.shape[1] ** -0.5)
        for name, value in Learner.open(base, recipe).masters.items()
    }
    save_file(values, file)


def common_name(name: str) -> str:
    """Of an adapter's weight, whoever wraps it."""
    return name.replace(".default", "").removeprefix("base_model.model.")


def write_rows(path: Path, name: str, count: int, base: Path) -> None:
    """A set's rows, in the vocabulary of a base."""
    vocabulary = json.loads((base / "config.json").read_text())["vocab_size"]
    path.write_text(json.dumps(SETS[name](count, vocabulary)))
