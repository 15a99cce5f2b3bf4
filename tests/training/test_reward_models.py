"""Learning to judge: loss and gradients are TRL's, and a saved version judges as the learner did."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.models import load_template
from tailor.training import Learner, RewardModel, StepMetrics, TokenizedPair, is_reward_model, train
from tests.models.methods import WANTED
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import recipe
from tests.training.test_preferences import pairs_of


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05, vocab_size=8192)


def learner_of(base: Path, parent: Path | None = None, **changes: Any) -> Learner:
    values = {"method": "reward_model", "num_epochs": 4, "num_steps": 8, "batch_size": 4, "rank": 4}
    return Learner.open(base, recipe(**(values | changes)), parent=parent)


def shaken(learner: Learner) -> None:
    """Away from zero, where half of the gradients are."""
    torch.manual_seed(5)
    for name, master in learner.masters.items():
        master.data += (0.5 if name == "score.weight" else 0.05) * torch.randn_like(master)
    learner._publish_masters()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("center", [0.0, 0.01])
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_loss_and_gradients_equal_trl(base: Path, tmp_path: Path, adapter: str, center: float) -> None:
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    pairs = pairs_of(5)
    learner = learner_of(base, adapter=adapter, reward_center=center)
    shaken(learner)
    learner.save(tmp_path / "version")
    directory = base if adapter == "lora" else tmp_path / "version"
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32, num_labels=1)
    model.score.weight.data.copy_(learner.masters["score.weight"])
    if adapter == "lora":
        config = LoraConfig.from_pretrained(tmp_path / "version")
        config.task_type = None  # theirs are of a classifier, ours of the model under it
        model = PeftModel.from_pretrained(model, tmp_path / "version", config=config, is_trainable=True)
        model.base_model.model.score.weight.requires_grad_(True)
    rows = [
        {"chosen_ids": pair.preferred.ids.tolist(), "rejected_ids": pair.rejected.ids.tolist()}
        for pair in pairs
    ]
    settings = trl.RewardConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=len(rows),
        center_rewards_coefficient=center or None,
        report_to=[],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        max_length=None,
    )
    trainer = trl.RewardTrainer(
        model=model,
        args=settings,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(base),
    )
    batch = trainer.data_collator(rows)
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    theirs = {
        name.removeprefix("base_model.model.").replace(".default.", "."): parameter.grad
        for name, parameter in trainer.model.named_parameters()
        if parameter.grad is not None
    }

    result = learner.forward_backward(pairs, step=0, max_microbatch_tokens=64)

    assert result.loss == pytest.approx(float(loss), rel=1e-5)
    ours = dict(zip(learner.parameters, learner.gradients, strict=True))
    assert theirs.keys() == {name for name, gradient in ours.items() if gradient.norm() > 0}
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).norm() < 1e-4 * gradient.norm(), name


def test_before_the_first_step_no_answer_is_better(base: Path) -> None:
    result = learner_of(base).forward_backward(pairs_of(4), step=0)
    assert result.loss == pytest.approx(math.log(2), rel=1e-6)
    assert (result.accuracy, result.figures["reward_margin"]) == (0.0, 0.0)


def _rewards_one_by_one(model: RewardModel, pairs: list[TokenizedPair]) -> list[float]:
    return [model.rewards([each.ids.tolist()])[0] for pair in pairs for each in pair.sequences]


@pytest.mark.parametrize(
    "name",
    [
        *(name if name == "prefix" else pytest.param(name, marks=pytest.mark.slow) for name in WANTED),
        "full",
        "nf4",
    ],
)
def test_a_preference_is_learned_and_the_saved_version_judges_like_the_learner(
    base: Path, tmp_path: Path, name: str
) -> None:
    more = {"full": {"adapter": "full"}, "nf4": {"adapter": "lora", "quantization": "nf4"}}
    pairs = pairs_of(8)
    learner = learner_of(base, num_epochs=12, num_steps=24, learning_rate=1e-2, **(WANTED | more)[name])
    updates = list(train(learner, pairs, validation=pairs))
    last = [update for update in updates if isinstance(update, StepMetrics)][-1]
    assert last.full_valid_mean_token_accuracy == 1.0
    assert last.full_valid_loss is not None and last.full_valid_loss < 0.6
    learner.save(tmp_path / "version")
    assert is_reward_model(tmp_path / "version")
    model = RewardModel.open(tmp_path / "version", base, dtype="float32")
    together = model.rewards([each.ids.tolist() for pair in pairs for each in pair.sequences])
    assert together == pytest.approx(_rewards_one_by_one(model, pairs), abs=1e-4)
    assert all(better > worse for better, worse in zip(together[::2], together[1::2], strict=True))
    margin = sum(together[::2]) - sum(together[1::2])
    figures = learner.evaluate(pairs).more
    assert figures["reward_margin"] == pytest.approx(margin, rel=1e-3)


def test_a_version_is_trained_further_with_its_head(base: Path, tmp_path: Path) -> None:
    first = learner_of(base)
    shaken(first)
    first.save(tmp_path / "first")
    second = learner_of(base, tmp_path / "first")
    assert torch.equal(second.masters["score.weight"], first.masters["score.weight"])
    pairs = pairs_of(4)
    assert second.evaluate(pairs) == first.evaluate(pairs)


def test_what_does_not_judge_is_refused(base: Path, tmp_path: Path) -> None:
    Learner.open(base, recipe(rank=4)).save(tmp_path / "writer")
    with pytest.raises(InvalidRequest, match="cannot judge"):
        RewardModel.open(tmp_path / "writer", base, dtype="float32")
    learner_of(base).save(tmp_path / "judge")
    model = RewardModel.open(tmp_path / "judge", base, dtype="float32", context_length=8)
    template = load_template(base)
    ids = template.render([{"role": "user", "content": "hello"}, {"role": "assistant", "content": "a"}]).ids
    with pytest.raises(InvalidRequest, match="this model reads 8"):
        model.rewards([ids])
