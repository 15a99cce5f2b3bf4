"""TRL as oracle: the same batch gives the same loss and the same gradients."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.models import embedded_directory
from tailor.training import Learner, Recipe, TokenizedExample
from tests.models.tiny import VOCABULARY, tiny_directory

FAMILIES = ["llama", "qwen2", "qwen3", "gemma2"]


def recipe(**changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "num_epochs": 1,
        "batch_size": 8,
        "num_steps": 1,
        "learning_rate": 1e-3,
        "max_context_tokens": 256,
        "checkpoint_every_steps": 1,
    }
    return Recipe(**(values | changes))


def examples_of(lengths: list[int], *, seed: int = 1) -> list[TokenizedExample]:
    """Random tokens; the last third of each example, and some in the middle, are answers."""
    dice = random.Random(seed)
    examples = []
    for line, length in enumerate(lengths, start=1):
        weights = torch.zeros(length)
        weights[length * 2 // 3 :] = 1.0
        weights[length // 3 : length // 3 + 2] = 1.0
        weights[0] = 0.0
        ids = torch.tensor([dice.randrange(3, VOCABULARY) for _ in range(length)])
        examples.append(TokenizedExample(line=line, fingerprint=f"{line}", ids=ids, weights=weights))
    return examples


def trl_loss_and_gradients(
    model: Any, examples: list[TokenizedExample], *, is_packed: bool, output: Path
) -> tuple[float, dict[str, torch.Tensor]]:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [
        {
            "input_ids": example.ids.tolist(),
            "labels": torch.where(example.weights > 0, example.ids, -100).tolist(),
        }
        for example in examples
    ]
    arguments = SFTConfig(
        output_dir=str(output),
        use_cpu=True,
        bf16=False,
        per_device_train_batch_size=len(rows),
        padding_free=is_packed,
        report_to=[],
        gradient_checkpointing=False,
        max_length=None,
    )
    trainer = SFTTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(embedded_directory()),
    )
    batch = trainer.data_collator(rows)
    assert ("attention_mask" not in batch) == is_packed
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    return float(loss), {
        name.removeprefix("base_model.model.").replace(".default.", "."): parameter.grad
        for name, parameter in trainer.model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("is_packed", [False, True], ids=["padded", "padding-free"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_loss_and_gradients_equal_those_of_trl(
    family: str, is_packed: bool, adapter: str, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    base = tiny_directory(tmp_path / "base", family)
    examples = examples_of([17, 5, 40, 23, 23, 9, 31, 12])
    ours = Learner.open(base, recipe(adapter=adapter, rank=4))
    theirs = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, attn_implementation="eager")
    if adapter == "lora":
        _randomise(ours)
        ours.save(tmp_path / "adapter")
        from peft import PeftModel

        theirs = PeftModel.from_pretrained(theirs, tmp_path / "adapter", is_trainable=True)
    loss, gradients = trl_loss_and_gradients(theirs, examples, is_packed=is_packed, output=tmp_path / "trl")

    result = ours.forward_backward(examples, step=0, max_microbatch_tokens=64)

    assert result.loss == pytest.approx(loss, rel=1e-5)
    found = dict(zip(ours.parameters, ours.gradients, strict=True))
    assert found.keys() == gradients.keys()
    for name, gradient in found.items():
        difference = (gradient - gradients[name]).norm() / gradients[name].norm()
        assert difference < 1e-5, name


def _randomise(learner: Learner) -> None:
    """An adapter whose B is zero has no gradient at A; give it values."""
    torch.manual_seed(2)
    state = {name: torch.randn_like(tensor) * 0.1 for name, tensor in learner.state().items()}
    learner.load_state(state)
