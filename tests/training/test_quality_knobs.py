"""Early stopping, weight averaging and replay: what they do, and that interruptions change no byte."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.models import embedded_directory, inspect, load_base, load_version, merged
from tailor.training import (
    DatasetFacts,
    EpochEnd,
    Learner,
    Note,
    Progress,
    Recipe,
    StepMetrics,
    Wanted,
    load_checkpoint,
    make_deterministic,
    save_checkpoint,
    train,
)
from tailor.training.batches import DataOrder
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import examples_of, recipe

EXAMPLES = examples_of([12, 30, 7, 18, 22, 9, 14, 25, 40, 11, 16, 13])
VALIDATION = examples_of([14, 9, 21], seed=2)
GENERAL = [dataclasses.replace(each, fingerprint=f"g{each.line}") for each in examples_of([10] * 7, seed=3)]
STOPPING = {"patience": 2, "look_every_steps": 2, "learning_rate": 0.3}
AVERAGING = {"average_share": 0.5, "learning_rate": 0.02}
REPLAYING = {"num_replayed": 3, "replay": "g", "num_steps": 15}
KNOBS: dict[str, dict[str, Any]] = {"stopping": STOPPING, "averaging": AVERAGING, "replay": REPLAYING}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05)


def _recipe(**changes: Any) -> Recipe:
    values = {"num_epochs": 5, "batch_size": 3, "num_steps": 20, "rank": 4, "seed": 11}
    return recipe(**(values | changes))


def _run(learner: Learner, progress: Progress | None = None) -> Any:
    replay = GENERAL if learner.recipe.num_replayed else ()
    return train(learner, EXAMPLES, validation=VALIDATION, replay=replay, progress=progress)


def _bytes(learner: Learner) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in learner.state().items()}


@pytest.mark.parametrize("name", KNOBS)
def test_stopping_at_every_third_step_changes_no_byte(base: Path, tmp_path: Path, name: str) -> None:
    make_deterministic(1)
    wanted = _recipe(**KNOBS[name])
    straight = Learner.open(base, wanted)
    expected = list(_run(straight))

    found: list[Any] = []
    progress: Progress | None = None
    directory: Path | None = None
    for attempt in range(10):
        learner = Learner.open(base, wanted)
        if directory is not None:
            progress = load_checkpoint(directory, learner, dataset_fingerprint="d")
        updates = _run(learner, progress)
        taken = list(islice((each for each in updates if isinstance(each, StepMetrics)), 3))
        if not taken:
            break
        found += taken
        last = taken[-1].progress
        directory = save_checkpoint(
            tmp_path, f"step-{last.step:08d}.{attempt}", learner, last, dataset_fingerprint="d"
        )
    assert found == [each for each in expected if isinstance(each, StepMetrics)]
    assert _bytes(learner) == _bytes(straight)


def test_early_stopping_ends_with_the_weights_of_the_lowest_held_out_loss(base: Path) -> None:
    learner = Learner.open(base, _recipe(**STOPPING))
    kept: dict[int, dict[str, torch.Tensor]] = {}
    updates = []
    for update in _run(learner):
        updates.append(update)
        if isinstance(update, StepMetrics):
            kept[update.step] = {name: each.detach().clone() for name, each in learner.masters.items()}
    steps = [update for update in updates if isinstance(update, StepMetrics)]
    looks = {step.step: step.full_valid_loss for step in steps if step.full_valid_loss is not None}
    best = min(looks, key=lambda step: (looks[step], step))
    last = steps[-1].progress
    assert last.is_stopped and len(steps) < 20
    assert last.final_step == last.best_step == best
    assert all(torch.equal(each, kept[best][name]) for name, each in learner.masters.items())
    weight = sum(each.total_weight for each in VALIDATION)
    assert learner.evaluate(VALIDATION).loss_sum / weight == pytest.approx(looks[best], rel=1e-6)
    assert isinstance(updates[-1], Note) and f"lowest at step {best}" in updates[-1].message
    assert isinstance(updates[-2], EpochEnd)


def test_the_mean_of_the_last_weights_is_what_it_says(base: Path) -> None:
    learner = Learner.open(base, _recipe(**AVERAGING))
    seen = []
    for update in _run(learner):
        if isinstance(update, StepMetrics) and update.step > 10:
            seen.append({name: each.detach().clone() for name, each in learner.masters.items()})
    assert len(seen) == 10
    for name, master in learner.masters.items():
        mean = torch.stack([each[name] for each in seen]).double().mean(0)
        assert torch.allclose(master.double(), mean, atol=1e-7)


def test_each_epoch_takes_the_next_general_examples() -> None:
    wanted = _recipe(**REPLAYING)
    order = DataOrder(EXAMPLES, wanted, GENERAL)
    assert order.steps_per_epoch == 5
    taken = []
    for epoch in range(3):
        items = [each for step in range(5) for each in order.examples_of(5 * epoch + step)]
        general = [each.fingerprint for each in items if each.fingerprint.startswith("g")]
        assert len(items) == 15 and len(general) == 3
        taken += general
    assert len(set(taken[:7])) >= 6, "none is seen again before all were, but for the end of a round"
    again = DataOrder(list(reversed(EXAMPLES)), wanted, list(reversed(GENERAL)))
    assert [e.fingerprint for e in again.examples_of(7)] == [e.fingerprint for e in order.examples_of(7)]


def test_wishes_become_recipes() -> None:
    facts = inspect(embedded_directory())
    dataset = DatasetFacts(num_examples=90, num_tokens=9000, num_replay=50, replay="g")

    def auto(method: str = "supervised", **options: Any) -> Recipe:
        return Recipe.auto(dataset, facts, Wanted.parse({}, options), seed=1, method=method)

    mixed = auto(replay={"file": "file-a", "share": 0.1})
    assert (mixed.num_replayed, mixed.replay) == (10, "g")
    assert auto(replay={"file": "file-a", "share": 0.9}).num_replayed == 50
    assert (auto().num_replayed, auto().patience, auto().average_share) == (0, 0, 0.0)
    stopped = auto(early_stopping={"patience": 4, "every_steps": 7})
    assert (stopped.patience, stopped.look_every_steps) == (4, 7)
    assert auto(early_stopping={}).patience == 3
    assert auto(average_share=0.25).average_share == 0.25
    for method, options, param in (
        ("dpo", {"replay": {"file": "file-a"}}, "tailor.replay"),
        ("supervised", {"replay": {"share": 0.1}}, "tailor.replay.file"),
        ("supervised", {"replay": {"file": "file-a", "share": 1}}, "tailor.replay.share"),
        ("reinforcement", {"early_stopping": {"patience": 2}}, "tailor.early_stopping"),
        ("supervised", {"early_stopping": {"patience": 0}}, "tailor.early_stopping.patience"),
        ("supervised", {"early_stopping": {}, "average_share": 0.5}, "tailor.average_share"),
        ("supervised", {"average_share": 2}, "tailor.average_share"),
    ):
        with pytest.raises(InvalidRequest) as refused:
            auto(method, **options)
        assert refused.value.param == param


def test_half_of_an_adapter_adds_half_to_every_weight(base: Path, tmp_path: Path) -> None:
    added = {}
    for scale in (1.0, 0.5):
        learner = Learner.open(base, _recipe(num_steps=3, adapter_scale=scale))
        list(_run(learner))
        learner.save(tmp_path / str(scale))
        plain = load_base(base).model.state_dict()
        version = load_version(tmp_path / str(scale), base)
        with merged(version.model):
            whole = version.model.state_dict()
            added[scale] = {name: whole[name] - tensor for name, tensor in plain.items() if "proj" in name}
    for name, tensor in added[1.0].items():
        assert tensor.abs().max() > 0
        assert torch.allclose(added[0.5][name], tensor / 2, atol=1e-6)


def test_only_lora_is_scaled() -> None:
    facts = DatasetFacts(num_examples=10, num_tokens=100)
    wanted = Wanted.parse({}, {"adapter_scale": 0.5, "adapter": {"type": "full"}})
    with pytest.raises(InvalidRequest, match="LoRA"):
        Recipe.auto(facts, inspect(embedded_directory()), wanted, seed=1)
