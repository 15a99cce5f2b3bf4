"""A run that stops and goes on ends with the same bytes as one that never stopped."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.store import Corrupt
from tailor.training import (
    EpochEnd,
    Learner,
    Progress,
    Recipe,
    StepMetrics,
    load_checkpoint,
    make_deterministic,
    save_checkpoint,
    train,
)
from tailor.training.batches import DataOrder
from tests.models.methods import WANTED
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import examples_of, recipe

EXAMPLES = examples_of([12, 30, 7, 18, 22, 9, 14, 25, 40, 11, 16, 13, 8, 27, 19])
VALIDATION = examples_of([14, 9, 21], seed=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05)


def _recipe(**changes: Any) -> Recipe:
    values = {"num_epochs": 4, "batch_size": 3, "num_steps": 20, "dropout": 0.1, "rank": 4, "seed": 11}
    return recipe(**(values | changes))


def _run(learner: Learner, progress: Progress | None = None) -> Any:
    return train(learner, EXAMPLES, validation=VALIDATION, progress=progress)


def _bytes(learner: Learner) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in learner.state().items()}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adapter": "full", "dropout": 0.0, "num_steps": 10, "num_epochs": 2},
        {"dtype": "bfloat16", "num_steps": 10, "num_epochs": 2},
        *(wanted | {"num_steps": 10, "num_epochs": 2} for wanted in WANTED.values()),
        {"quantization": "nf4", "dtype": "bfloat16", "num_steps": 10, "num_epochs": 2},
        {"batch_size": 15, "num_steps": 10, "num_epochs": 10, "shard_size": 4, "max_microbatch_tokens": 60},
    ],
    ids=["lora", "full", "bfloat16", *(f"method-{name}" for name in WANTED), "nf4", "shards"],
)
def test_stopping_at_every_fifth_step_changes_no_byte(
    base: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    make_deterministic(1)
    wanted = _recipe(**changes)
    straight = Learner.open(base, wanted)
    expected = list(_run(straight))

    found: list[Any] = []
    progress: Progress | None = None
    directory: Path | None = None
    for attempt in range(wanted.num_steps // 5):
        learner = Learner.open(base, wanted)
        if directory is not None:
            progress = load_checkpoint(directory, learner, dataset_fingerprint="d")
            assert progress.step == 5 * attempt
        updates = _run(learner, progress)
        while sum(isinstance(update, StepMetrics) for update in found) < 5 * (attempt + 1):
            found.append(next(updates))
        if found[-1].step % DataOrder(EXAMPLES, wanted).steps_per_epoch == 0:
            found += [update for update in islice(updates, 1) if isinstance(update, EpochEnd)]
        last = found[-1].progress
        directory = save_checkpoint(
            tmp_path, f"step-{last.step:08d}.{attempt}", learner, last, dataset_fingerprint="d"
        )
    assert _bytes(learner) == _bytes(straight)
    assert found == expected


ALL: dict[str, dict[str, Any]] = {
    **WANTED,
    "full": {"adapter": "full"},
    "int8": {"quantization": "int8"},
    "nf4": {"adapter": "dora", "quantization": "nf4"},
}


@pytest.mark.parametrize("name", ALL)
def test_the_loss_falls_and_the_saved_version_scores_like_the_learner(
    base: Path, tmp_path: Path, name: str
) -> None:
    from tailor.models import load_version
    from tailor.training import score

    rate = 1e-2 if name not in ("ia3", "prefix") else 1e-1
    learner = Learner.open(base, _recipe(num_epochs=8, num_steps=40, learning_rate=rate, **ALL[name]))
    before = learner.evaluate(EXAMPLES).loss_sum
    list(_run(learner))
    # A random base gives the methods with few weights little to work with.
    least = 1.0 if name in ("ia3", "bottleneck", "prefix") else 0.95
    assert learner.evaluate(EXAMPLES).loss_sum < least * before
    learner.save(tmp_path / "version")
    wanted = score(learner.loaded, EXAMPLES)
    found = score(load_version(tmp_path / "version", base), EXAMPLES)
    assert [s.num_correct for s in found] == [s.num_correct for s in wanted]
    assert [s.loss_sum for s in found] == pytest.approx([s.loss_sum for s in wanted], rel=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_a_version_can_be_trained_further(base: Path, tmp_path: Path, name: str) -> None:
    wanted = _recipe(dropout=0.0, num_steps=6, **ALL[name])
    first = Learner.open(base, wanted)
    list(_run(first))
    first.save(tmp_path / "first")
    second = Learner.open(base, wanted, parent=tmp_path / "first")
    for name, master in second.masters.items():
        assert torch.equal(master, first.masters[name]), name
    begin = second.forward_backward(EXAMPLES[:3], step=0).loss
    assert begin == pytest.approx(first.forward_backward(EXAMPLES[:3], step=0).loss, rel=1e-5)
    list(_run(second))


def test_a_checkpoint_of_another_recipe_or_dataset_is_refused(base: Path, tmp_path: Path) -> None:
    learner = Learner.open(base, _recipe())
    directory = save_checkpoint(tmp_path, "step-1.a", learner, Progress(step=1), dataset_fingerprint="d")
    with pytest.raises(InvalidRequest, match="another recipe"):
        load_checkpoint(directory, Learner.open(base, _recipe(seed=12)), dataset_fingerprint="d")
    with pytest.raises(InvalidRequest, match="another dataset"):
        load_checkpoint(directory, learner, dataset_fingerprint="e")


def test_a_damaged_checkpoint_is_refused(base: Path, tmp_path: Path) -> None:
    learner = Learner.open(base, _recipe())
    directory = save_checkpoint(tmp_path, "step-1.a", learner, Progress(step=1), dataset_fingerprint="d")
    state = directory / "state.safetensors"
    data = bytearray(state.read_bytes())
    data[-1] ^= 1
    state.write_bytes(data)
    with pytest.raises(Corrupt):
        load_checkpoint(directory, learner, dataset_fingerprint="d")
