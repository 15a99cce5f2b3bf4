"""Training and serving on a device that is not the processor, with real numbers (`pretend`).

Not collected by itself: torch has to know the device before anything is differentiated, so `test_elsewhere`
runs this file in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tailor.evals import LocalPair
from tailor.inference import (
    EngineLimits,
    GenerationRequest,
    LocalEngine,
    ModelKey,
    SamplingParameters,
    Writer,
)
from tailor.inference.embedding import Embedder
from tailor.models import embedded_directory, load_base, load_version, merge_version, read_adapter, twin_of
from tailor.training import (
    Learner,
    Progress,
    Recipe,
    RewardModel,
    StepMetrics,
    load_checkpoint,
    make_deterministic,
    save_checkpoint,
    score,
    train,
)
from tailor.training.batches import Trainable
from tailor.training.exploration import Exploration
from tailor.training.imitation import Imitation
from tailor.training.rollouts import Practice
from tailor.training.selfcheck import packing_difference, switch_to_plain
from tests.devices.pretend import WrongDevice, pretending, register
from tests.inference.shop import Shop, adapter_key, ask, prompts
from tests.models.cards import flex_by_blocks, varlen_by_definition
from tests.models.methods import WANTED
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import examples_of, recipe
from tests.training.test_opinions import opinions_of
from tests.training.test_preferences import pairs_of
from tests.training.test_reinforcement import practice_of, prompts_of
from tests.training.test_sharing import examples_sharing

register()
make_deterministic(1)
load_base(embedded_directory(), device="cpu")  # transformers imports the rest of itself on first use

Where = Callable[[], None]
METHODS: dict[str, dict[str, Any]] = {
    **WANTED,
    "dropout": {"adapter": "lora", "rank": 4, "dropout": 0.1},
    "full": {"adapter": "full"},
    "muon": {"adapter": "full", "optimizer": "muon"},
    "int8": {"quantization": "int8", "recompute_activations": True},
    "nf4": {"adapter": "dora", "quantization": "nf4"},
    "bfloat16": {"dtype": "bfloat16"},
    "kept": {"average_share": 0.5},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05, vocab_size=8192)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Where]:
    """Call it, and from then on everything is loaded there unless it asks for another place."""
    monkeypatch.setattr("tailor.models.flex.kernel", lambda: flex_by_blocks)
    monkeypatch.setattr("tailor.models.card.varlen_kernel", lambda: varlen_by_definition)
    with pretending() as device:

        def move() -> None:
            monkeypatch.setattr(
                "tailor.models.loading.choose_device",
                lambda asked=None: device if asked is None else torch.device(asked),
            )

        yield move


def steps_of(base: Path, wanted: Recipe, items: Sequence[Trainable], **how: Any) -> list[StepMetrics]:
    """All steps of a run, from nothing."""
    teacher = how.pop("teacher", None)
    learner = Learner.open(base, wanted, teacher=load_base(teacher) if teacher else None)
    if how.pop("is_plain", False):
        switch_to_plain(learner.loaded)
        how["progress"] = Progress(is_packed=False)
    learner.measure_reference(items)
    if practise := how.pop("practise", None):
        how["practice"] = practise(learner)
    return [each for each in train(learner, items, **how) if isinstance(each, StepMetrics)]


def assert_alike(found: list[StepMetrics], wanted: list[StepMetrics], rel: float = 1e-4) -> None:
    """The first step to `rel`; what AdamW makes of gradients near zero lets later ones drift apart."""
    assert len(found) == len(wanted)
    for step, (one, other) in enumerate(zip(found, wanted, strict=True)):
        rel = rel if step == 0 else max(rel, 0.02)
        for name in ("train_loss", "gradient_norm", "train_mean_token_accuracy", "full_valid_loss"):
            value = getattr(other, name)
            assert getattr(one, name) == (value and pytest.approx(value, rel=rel, abs=1e-6)), name
        for name in one.figures.keys() - {"reward_accuracy"}:  # of ties, at the first step
            assert one.figures[name] == pytest.approx(other.figures[name], rel=rel, abs=1e-5), name


def test_tensors_of_two_devices_do_not_mix(elsewhere: Where) -> None:
    elsewhere()
    there = torch.ones(3, device="pretend")
    with pytest.raises(WrongDevice):
        there + torch.ones(3)
    assert (there + torch.tensor(1.0)).device.type == "pretend"
    assert load_base(embedded_directory()).model.device.type == "pretend"


@pytest.mark.parametrize("name", METHODS)
def test_a_run_is_that_of_the_processor(base: Path, elsewhere: Where, name: str) -> None:
    items = examples_sharing(2, seed=1)
    wanted = recipe(num_epochs=3, batch_size=4, num_steps=6, shard_size=2, **METHODS[name])
    here = steps_of(base, wanted, items, validation=examples_of([14, 9]))
    elsewhere()
    rel = 0.03 if wanted.dtype == "bfloat16" else 1e-4
    if wanted.dropout:  # drawn by the device itself
        assert len(steps_of(base, wanted, items)) == 6
    else:
        assert_alike(steps_of(base, wanted, items, validation=examples_of([14, 9])), here, rel)


@pytest.mark.parametrize("family", ["gemma2", "qwen3", "granite"])
def test_families_with_windows_and_caps(tmp_path: Path, elsewhere: Where, family: str) -> None:
    directory = tiny_directory(tmp_path, family, initializer_range=0.05)
    wanted = recipe(num_steps=2, num_epochs=2, rank=4)
    items = examples_sharing(3, seed=2)
    here = steps_of(directory, wanted, items)
    elsewhere()
    assert_alike(steps_of(directory, wanted, items), here)
    assert packing_difference(load_base(directory), items[:3]) < 1e-4
    assert_alike(steps_of(directory, wanted, items, is_plain=True), here, 1e-3)


def test_a_kernel_that_does_not_compile_leaves_the_plain_path(
    base: Path, elsewhere: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise RuntimeError("no compiler here")

    wanted, items = recipe(rank=4), examples_sharing(2, seed=1)
    here = steps_of(base, wanted, items)
    elsewhere()
    monkeypatch.setattr("tailor.models.flex.kernel", broken)
    assert_alike(steps_of(base, wanted, items), here, 1e-3)


OBJECTIVES: dict[str, tuple[dict[str, Any], Callable[[], Sequence[Any]]]] = {
    "dpo": ({"method": "dpo"}, lambda: pairs_of(5)),
    "simpo": ({"method": "dpo", "preference_loss": "simpo"}, lambda: pairs_of(5)),
    "kto": ({"method": "kto"}, lambda: opinions_of(6)),
    "reward_model": ({"method": "reward_model", "reward_center": 0.01}, lambda: pairs_of(5)),
    "text": ({"method": "text", "adapter": "full"}, lambda: examples_of([60, 33, 70])),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective(base: Path, elsewhere: Where, name: str) -> None:
    changes, items = OBJECTIVES[name]
    wanted = recipe(num_steps=4, num_epochs=4, rank=4, **changes)
    here = steps_of(base, wanted, items())
    elsewhere()
    assert_alike(steps_of(base, wanted, items()), here)


def test_distillation(base: Path, tmp_path: Path, elsewhere: Where) -> None:
    teacher = tiny_directory(tmp_path, "qwen3", vocab_size=8192, hidden_size=48)
    wanted = recipe(
        method="distillation", num_steps=2, num_epochs=2, imitation=Imitation(teacher="t", beta=0.5)
    )
    items = examples_of([17, 9, 12])
    here = steps_of(base, wanted, items, teacher=teacher)
    elsewhere()
    assert_alike(steps_of(base, wanted, items, teacher=teacher), here)


def test_reinforcement(base: Path, elsewhere: Where) -> None:
    """Answers are drawn there too: the same ones, by the same random numbers."""
    exploration = Exploration.auto(
        {"group_size": 4, "max_tokens": 8, "kl": 0.05}, num_steps=2, context_length=128
    )
    wanted = recipe(
        method="reinforcement", num_steps=2, num_epochs=2, batch_size=2, rank=4, exploration=exploration
    )
    items = prompts_of(4)

    def practise(learner: Learner) -> Practice:
        return practice_of(learner, lambda text: len(set(text)) / 50, validation=items[:1])

    here = steps_of(base, wanted, items, practise=practise)
    elsewhere()
    found = steps_of(base, wanted, items, practise=practise)
    assert_alike(found, here, 1e-3)
    assert found[-1].report["train_mean_reward"] == pytest.approx(here[-1].report["train_mean_reward"])


@pytest.mark.parametrize("name", ["lora", "full", "muon", "kept", "prefix"])
def test_a_run_that_stops_goes_on_to_the_same_bytes(
    base: Path, tmp_path: Path, elsewhere: Where, name: str
) -> None:
    wanted = recipe(num_epochs=3, batch_size=4, num_steps=6, **METHODS[name])
    items = examples_sharing(2, seed=1)
    elsewhere()
    straight = Learner.open(base, wanted)
    list(train(straight, items))
    first = Learner.open(base, wanted)
    steps = (each for each in train(first, items) if isinstance(each, StepMetrics))
    last = list(islice(steps, 3))[-1]
    save_checkpoint(tmp_path, "c", first, last.progress, dataset_fingerprint="d")
    second = Learner.open(base, wanted)
    progress = load_checkpoint(tmp_path / "c", second, dataset_fingerprint="d")
    list(train(second, items, progress=progress))
    for key, value in straight.state().items():
        assert torch.equal(second.state()[key].cpu(), value.cpu()), key


@pytest.mark.parametrize("name", ["lora", "dora", "ia3", "bottleneck", "prefix", "full", "nf4"])
def test_a_version_scores_and_answers_as_on_the_processor(
    base: Path, tmp_path: Path, elsewhere: Where, name: str
) -> None:
    learner = Learner.open(base, recipe(num_steps=2, num_epochs=2, learning_rate=1e-2, **METHODS[name]))
    items = examples_of([17, 9, 12])
    list(train(learner, items))
    learner.save(tmp_path / "version")

    def proven() -> tuple[list[float], list[str]]:
        with LocalPair(base=base, version=tmp_path / "version", dtype="float32", context_length=64) as pair:
            scores = [each.loss_sum for arm in ("base", "version") for each in pair.scores(arm, items)]
            engine = pair._started_engine()
            request = GenerationRequest(
                model=pair._key("version"),
                prompt_ids=items[0].ids.tolist(),
                parameters=SamplingParameters(max_tokens=6, temperature=0.0),
            )
            return scores, [each.text for each in engine.generate([request])]

    here = proven()
    elsewhere()
    found = proven()
    assert found[0] == pytest.approx(here[0], rel=1e-5)
    assert found[1] == here[1]
    loaded = load_version(tmp_path / "version", base)
    assert [each.loss_sum for each in score(loaded, items)] == pytest.approx(here[0][3:], rel=1e-5)
    if name in ("lora", "nf4"):
        merge_version(tmp_path / "version", base, tmp_path / "merged")


def test_a_reward_model_judges_there(base: Path, tmp_path: Path, elsewhere: Where) -> None:
    wanted = recipe(method="reward_model", num_steps=2, num_epochs=2, learning_rate=1e-2)
    learner = Learner.open(base, wanted)
    list(train(learner, pairs_of(4)))
    learner.save(tmp_path / "judge")
    asked = [each.ids.tolist() for pair in pairs_of(2) for each in pair.sequences]
    here = RewardModel.open(tmp_path / "judge", base, dtype="float32").rewards(asked)
    elsewhere()
    there = RewardModel.open(tmp_path / "judge", base, dtype="float32").rewards(asked)
    assert there == pytest.approx(here, rel=1e-5)


def test_adapters_of_every_method_answer_in_one_batch(base: Path, tmp_path: Path, elsewhere: Where) -> None:
    names = ("lora", "dora", "ia3", "bottleneck", "prefix")
    embedded = embedded_directory()
    for name in names:
        wanted = recipe(num_steps=1, learning_rate=1e-2, **METHODS[name])
        learner = Learner.open(embedded, wanted)
        list(train(learner, examples_of([17, 9, 12])))
        learner.save(tmp_path / name)

    def answers() -> list[str]:
        shop = Shop(adapters={name: read_adapter(tmp_path / name) for name in names})
        asked = prompts(load_base(embedded, device="cpu"))
        with LocalEngine(shop, EngineLimits(max_running=8, max_tokens_per_step=64)) as engine:
            requests = [ask(each, adapter_key(name), max_tokens=6) for each in asked[:3] for name in names]
            requests += [ask(each, max_tokens=6, n=2, temperature=0.8, top_p=0.9, seed=3) for each in asked]
            requests += [
                ask(asked[0], max_tokens=6, top_logprobs=3, logit_bias={5: 2.0}, frequency_penalty=0.5)
            ]
            return [choice.text for result in engine.generate(requests) for choice in result.choices]

    here = answers()
    elsewhere()
    assert answers() == here


def test_answers_written_for_training(base: Path, elsewhere: Where) -> None:
    def written() -> Any:
        loaded = load_base(base)
        writer = Writer(twin_of(loaded), context_length=64)
        request = GenerationRequest(
            model=ModelKey(base="b"),
            prompt_ids=[3, 4, 5],
            parameters=SamplingParameters(max_tokens=9, seed=4, top_p=0.95),
            n=4,
        )
        return writer.write([request])

    here = written()
    elsewhere()
    assert written() == here


def test_embeddings(elsewhere: Where) -> None:
    texts = ["a cat", "one two three", "x"]
    here = Embedder().embed("k", lambda: load_base(embedded_directory()), texts).vectors
    elsewhere()
    there = Embedder().embed("k", lambda: load_base(embedded_directory()), texts).vectors
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-5)
