from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.models import ATTENTION_NAME, PackedLayout
from tailor.training import EpochEnd, Learner, Note, Recipe, StepMetrics, TokenizedExample, score, train
from tailor.training.batches import pack
from tailor.training.output import supervised_losses
from tailor.training.selfcheck import packing_difference
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import examples_of, recipe

EXAMPLES = examples_of([12, 30, 7, 18, 22, 9, 14, 25, 40, 11, 16])
VALIDATION = examples_of([14, 9, 21], seed=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05)


def _recipe(**changes: Any) -> Recipe:
    return recipe(**({"num_epochs": 4, "batch_size": 4, "num_steps": 12, "rank": 4} | changes))


def test_updates_come_in_order_with_openai_names(base: Path) -> None:
    updates = list(train(Learner.open(base, _recipe()), EXAMPLES, validation=VALIDATION))
    metrics = [update for update in updates if isinstance(update, StepMetrics)]
    assert [update.step for update in metrics] == list(range(1, 13))
    assert [update.epoch for update in metrics] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]
    assert [(u.epoch, u.step) for u in updates if isinstance(u, EpochEnd)] == [
        (1, 3),
        (2, 6),
        (3, 9),
        (4, 12),
    ]
    assert set(metrics[0].to_dict()) == {"step", "total_steps", "train_loss", "train_mean_token_accuracy"}
    assert {"valid_loss", "valid_mean_token_accuracy"} <= set(metrics[9].to_dict())
    assert {"full_valid_loss", "full_valid_mean_token_accuracy"} <= set(metrics[2].to_dict())
    assert metrics[0].message.startswith("Step 1/12: training loss=")
    assert "full validation loss=" in metrics[11].message
    assert metrics[-1].progress.num_tokens == 4 * sum(example.num_tokens for example in EXAMPLES)


def test_full_validation_is_the_mean_over_all_its_targets(base: Path) -> None:
    learner = Learner.open(base, _recipe(num_epochs=1, num_steps=3))
    last = [u for u in train(learner, EXAMPLES, validation=VALIDATION) if isinstance(u, StepMetrics)][-1]
    batch = pack(VALIDATION)
    with torch.no_grad():
        losses = supervised_losses(learner.loaded, batch).losses_N
    assert last.full_valid_loss == pytest.approx(float(losses.mean()), rel=1e-5)


def test_the_gradient_does_not_depend_on_microbatches(base: Path) -> None:
    gradients = []
    for room in (30, 200, 4096):
        learner = Learner.open(base, _recipe(adapter="full"))
        result = learner.forward_backward(EXAMPLES, step=0, max_microbatch_tokens=room)
        gradients.append((result.loss, learner.gradients))
    for loss, found in gradients[1:]:
        assert loss == pytest.approx(gradients[0][0], rel=1e-6)
        for one, other in zip(found, gradients[0][1], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_scores_are_per_example_and_in_order(base: Path) -> None:
    learner = Learner.open(base, _recipe())
    together = score(learner.loaded, EXAMPLES, max_microbatch_tokens=64)
    for example, found in zip(EXAMPLES, together, strict=True):
        alone = score(learner.loaded, [example])[0]
        assert found.loss_sum == pytest.approx(alone.loss_sum, rel=1e-5)
        assert (found.num_tokens, found.num_correct) == (alone.num_tokens, alone.num_correct)


@pytest.mark.parametrize("tile", [1, 7])
def test_tiles_of_the_output_layer_change_nothing(
    base: Path, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Learner.open(base, _recipe(adapter="full"))
    wanted = whole.forward_backward(EXAMPLES, step=0)
    monkeypatch.setattr("tailor.training.output._TILE_ELEMENTS", tile * 512)
    tiled = Learner.open(base, _recipe(adapter="full"))
    found = tiled.forward_backward(EXAMPLES, step=0)
    assert found.loss == pytest.approx(wanted.loss, rel=1e-6)
    for one, other in zip(tiled.gradients, whole.gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def _poisoned(learner: Learner, monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Make the gradients of these steps not finite."""
    original = learner._backward
    calls = iter(range(10**6))

    def backward(loss: torch.Tensor) -> list[torch.Tensor]:
        gradients = original(loss)
        return [g * float("nan") for g in gradients] if next(calls) in steps else gradients

    monkeypatch.setattr(learner, "_backward", backward)


def test_a_step_that_is_not_finite_is_left_out(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learner = Learner.open(base, _recipe())
    _poisoned(learner, monkeypatch, {1, 2, 5})
    updates = list(train(learner, EXAMPLES))
    assert [update.step for update in updates if isinstance(update, Note)] == [2, 3, 6]
    metrics = [update for update in updates if isinstance(update, StepMetrics)]
    assert len(metrics) == 9
    assert metrics[-1].progress.num_skipped == 3
    # The schedule waits for skipped steps.
    assert metrics[1].learning_rate == learner.recipe.learning_rate_at(1)
    assert all(torch.isfinite(tensor).all() for tensor in learner.state().values())


def test_three_such_steps_in_a_row_end_the_run_and_name_the_lines(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner = Learner.open(base, _recipe())
    _poisoned(learner, monkeypatch, {3, 4, 5})
    with pytest.raises(InvalidRequest, match=r"step 6.* lines \d+, \d+") as caught:
        list(train(learner, EXAMPLES))
    assert caught.value.code == "non_finite_loss"


def test_weights_that_are_not_finite_are_never_saved(base: Path, tmp_path: Path) -> None:
    learner = Learner.open(base, _recipe())
    with torch.no_grad():
        next(iter(learner.masters.values())).fill_(float("inf"))
    with pytest.raises(InvalidRequest, match="not finite"):
        learner.save(tmp_path / "version")
    assert not (tmp_path / "version").exists()


def test_out_of_memory_halves_the_microbatch_and_keeps_the_result(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [u for u in train(Learner.open(base, _recipe()), EXAMPLES) if isinstance(u, StepMetrics)]
    learner = Learner.open(base, _recipe())
    original = learner._backward
    calls = iter(range(10**6))

    def backward(loss: torch.Tensor) -> list[torch.Tensor]:
        if next(calls) in (4, 5):
            raise torch.OutOfMemoryError
        return original(loss)

    monkeypatch.setattr(learner, "_backward", backward)
    updates = list(train(learner, EXAMPLES))
    found = [update for update in updates if isinstance(update, StepMetrics)]
    assert [u.train_loss for u in found] == pytest.approx([u.train_loss for u in wanted], rel=1e-5)
    assert found[-1].progress.max_microbatch_tokens == 1024
    assert sum(isinstance(update, Note) for update in updates) == 2


class _Leaking(PackedLayout):
    """A layout in which every example sees its neighbours."""

    def attend(self, layer_index: int, *tensors: torch.Tensor, **options: Any) -> torch.Tensor:
        return PackedLayout([sum(self.lengths)]).attend(layer_index, *tensors, **options)


def test_the_self_check_sees_no_difference_where_there_is_none(base: Path) -> None:
    assert packing_difference(Learner.open(base, _recipe()).loaded, EXAMPLES[:3]) < 1e-5


def test_a_leak_is_found_and_training_goes_on_without_packing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_directory(tmp_path / "base")
    wanted = [u for u in train(Learner.open(base, _recipe()), EXAMPLES) if isinstance(u, StepMetrics)]
    monkeypatch.setattr("tailor.training.batches.PackedLayout", _Leaking)
    learner = Learner.open(base, _recipe())
    updates = list(train(learner, EXAMPLES))
    assert isinstance(updates[0], Note)
    assert updates[-1].progress.is_packed is False  # type: ignore[union-attr]
    assert learner.loaded.model.config._attn_implementation != ATTENTION_NAME
    found = [update for update in updates if isinstance(update, StepMetrics)]
    assert [u.train_loss for u in found] == pytest.approx([u.train_loss for u in wanted], rel=1e-4)


def test_order_in_the_file_does_not_matter(base: Path) -> None:
    def losses(examples: list[TokenizedExample]) -> list[float]:
        updates = train(Learner.open(base, _recipe()), examples)
        return [update.train_loss for update in updates if isinstance(update, StepMetrics)]

    assert losses(EXAMPLES) == losses(EXAMPLES[::-1])
