"""Single answers that were liked or not: the losses are TRL's, and what was liked becomes likelier."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.data import Opinion
from tailor.training import (
    Learner,
    StepMetrics,
    TokenizedExample,
    TokenizedOpinion,
    tokenize_opinions,
    train,
)
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import recipe
from tests.training.test_preferences import TEMPLATE, shaken


def opinions_of(count: int) -> list[TokenizedOpinion]:
    """Saying yes is liked, saying no is not."""
    listed = [
        Opinion(
            line=number,
            messages=({"role": "user", "content": f"Do you like to count to {number}?"},),
            answer={"role": "assistant", "content": "Yes, gladly" if number % 2 else "No"},
            is_desirable=number % 2 == 1,
        )
        for number in range(1, count + 1)
    ]
    return list(tokenize_opinions(listed, TEMPLATE, max_tokens=64).examples)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05, vocab_size=8192)


def learner_of(base: Path, opinions: list[TokenizedOpinion], **changes: Any) -> Learner:
    values = {"method": "kto", "num_epochs": 4, "num_steps": 8, "batch_size": 4, "rank": 4, "beta": 0.3}
    learner = Learner.open(base, recipe(**(values | changes)))
    learner.measure_reference(opinions)
    return learner


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_loss_and_gradients_equal_trl(base: Path, kind: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rows = [
        {
            "prompt": f"Do you like to count to {number}?",
            "completion": " Yes, gladly" if number % 2 else " No",
            "label": number % 2 == 1,
        }
        for number in range(1, 7)
    ]
    settings = trl.KTOConfig(
        output_dir=str(tmp_path),
        beta=0.3,
        loss_type=kind,
        desirable_weight=1.3,
        undesirable_weight=0.7,
        per_device_train_batch_size=len(rows),
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        remove_unused_columns=False,
    )
    trainer = trl.KTOTrainer(
        model=AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
        peft_config=LoraConfig(r=4, lora_alpha=32.0, target_modules="all-linear", lora_dropout=0.0),
    )
    batch = next(iter(trainer.get_train_dataloader()))
    opinions = [
        TokenizedOpinion(
            line=place,
            fingerprint=str(place),
            example=_example(batch, "", place),
            stranger=_example(batch, "KL_" if kind == "kto" else "", place),
            is_desirable=bool(batch["label"][place]),
        )
        for place in range(len(rows))
    ]
    learner = learner_of(
        base, opinions, opinion_loss=kind, desirable_weight=1.3, undesirable_weight=0.7, alpha=32.0
    )
    shaken(learner)
    theirs = {
        name.replace(".default", "").removeprefix("base_model.model."): parameter
        for name, parameter in trainer.model.named_parameters()
        if "lora_" in name and ".ref." not in name
    }
    for name, value in learner.parameters.items():
        theirs[name].data.copy_(value)
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    result = learner.forward_backward(opinions, step=0)
    assert result.loss == pytest.approx(float(loss), rel=1e-5)
    for name, gradient in zip(learner.parameters, learner.gradients, strict=True):
        assert (gradient - theirs[name].grad).norm() < 2e-5 * gradient.norm() + 1e-9, name


def _example(batch: Any, prefix: str, place: int) -> TokenizedExample:
    length = int(batch[f"{prefix}attention_mask"][place].sum())
    weights = batch[f"{prefix}completion_mask"][place][:length].float()
    return TokenizedExample(
        line=place, fingerprint=str(place), ids=batch[f"{prefix}input_ids"][place][:length], weights=weights
    )


def test_each_prompt_meets_the_answer_to_another() -> None:
    opinions = opinions_of(6)
    answers = [each.example.ids[each.example.weights > 0].tolist() for each in opinions]
    strange = [each.stranger.ids[each.stranger.weights > 0].tolist() for each in opinions]
    assert sorted(answers) == sorted(strange)
    again = {each.fingerprint: each.stranger.ids.tolist() for each in reversed(opinions_of(6))}
    assert all(again[each.fingerprint] == each.stranger.ids.tolist() for each in opinions)


def test_at_the_start_every_answer_costs_half(base: Path) -> None:
    opinions = opinions_of(6)
    result = learner_of(base, opinions).forward_backward(opinions, step=0)
    assert result.loss == pytest.approx(0.5, abs=1e-6)
    assert result.figures["drift"] == pytest.approx(0.0, abs=1e-5)
    assert not math.isnan(result.gradient_norm) and result.gradient_norm > 0


def test_what_is_liked_becomes_likelier(base: Path) -> None:
    opinions = opinions_of(8)
    learner = learner_of(base, opinions, num_epochs=10, num_steps=20, learning_rate=1e-2)
    steps = [each for each in train(learner, opinions, validation=opinions) if isinstance(each, StepMetrics)]
    assert steps[-1].full_valid_loss is not None and steps[-1].full_valid_loss < 0.45
    figures = learner.evaluate(opinions).more
    assert figures["reward_accuracy"] == 8
