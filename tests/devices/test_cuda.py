"""On a real card: the same numbers as on the processor. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.inference import EngineLimits, LocalEngine
from tailor.models import DenseLayout, PackedLayout, embedded_directory, load_base
from tailor.models.attention import PrefixedLayout
from tailor.training import (
    Learner,
    StepMetrics,
    load_checkpoint,
    make_deterministic,
    save_checkpoint,
    train,
)
from tailor.training.selfcheck import packing_difference
from tests.inference.shop import Shop, ask, prompts
from tests.models.methods import WANTED
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import recipe
from tests.training.test_preferences import pairs_of
from tests.training.test_sharing import examples_sharing

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card here"),
]
METHODS: dict[str, dict[str, Any]] = {
    **WANTED,
    "full": {"adapter": "full"},
    "int8": {"quantization": "int8"},
    "nf4": {"quantization": "nf4", "recompute_activations": True},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_directory(tmp_path_factory.mktemp("models") / "base", initializer_range=0.05, vocab_size=8192)


def first_gradient(base: Path, items: Sequence[Any], device: str, **changes: Any) -> tuple[Any, Learner]:
    learner = Learner.open(base, recipe(**changes), device=device)
    learner.measure_reference(items)
    return learner.forward_backward(items, step=0), learner


def assert_same_step(base: Path, items: Sequence[Any], *, tolerance: float = 1e-4, **changes: Any) -> None:
    here, one = first_gradient(base, items, "cpu", **changes)
    there, other = first_gradient(base, items, "cuda", **changes)
    assert there.loss == pytest.approx(here.loss, rel=tolerance)
    for name, wanted, found in zip(one.parameters, one.gradients, other.gradients, strict=True):
        assert (found.cpu() - wanted).norm() <= tolerance * wanted.norm() + 1e-7, name


@pytest.mark.parametrize("name", METHODS)
def test_loss_and_gradients_are_those_of_the_processor(base: Path, name: str) -> None:
    assert_same_step(base, examples_sharing(2, seed=1), **METHODS[name])


@pytest.mark.parametrize("family", ["gemma2", "gemma3_text", "qwen3", "mistral"])
def test_families_with_windows_and_caps(tmp_path: Path, family: str) -> None:
    directory = tiny_directory(tmp_path, family, initializer_range=0.05)
    assert_same_step(directory, examples_sharing(3, seed=2), rank=4)
    assert packing_difference(load_base(directory, device="cuda"), examples_sharing(3, seed=2)) < 1e-4


def test_pairs(base: Path) -> None:
    assert_same_step(base, pairs_of(5), method="dpo", rank=4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("window", "softcap", "num_prefix"), [(None, None, 0), (50, None, 0), (None, 5.0, 9)]
)
@pytest.mark.parametrize("parents", [[-1, -1, -1, -1], [-1, 0, 1, 0]])
def test_kernels_equal_the_dense_reference(
    dtype: torch.dtype, window: int | None, softcap: float | None, num_prefix: int, parents: list[int]
) -> None:
    """FlexAttention, and flash attention where nothing is shared, in bfloat16."""
    lengths = [300, 7, 140, 33]
    random = torch.Generator().manual_seed(3)
    shapes = [(8, sum(lengths), 64), *[(2, sum(lengths), 64)] * 2, *[(2, num_prefix, 64)] * 2]
    values = [torch.randn(shape, generator=random) for shape in shapes]
    results = []
    for kind, kept in ((PackedLayout, dtype), (DenseLayout, torch.float32)):
        inputs = [each.to("cuda", kept).requires_grad_() for each in values]
        layout: Any = kind(lengths, parents)
        layout = PrefixedLayout(layout, [(inputs[3], inputs[4])]) if num_prefix else layout
        output = layout.attend(0, *inputs[:3], scaling=0.1, sliding_window=window, softcap=softcap)
        weights = torch.linspace(-1, 1, output.numel(), device="cuda").view_as(output)
        used = inputs if num_prefix else inputs[:3]
        results.append([output, *torch.autograd.grad((output.float() * weights).sum(), used)])
    tolerance = 1e-4 if dtype == torch.float32 else 0.02
    for found, wanted in zip(*results, strict=True):
        assert (found.float() - wanted).norm() < tolerance * wanted.norm()


@pytest.mark.parametrize("name", ["lora", "full", "prefix"])
def test_a_run_that_stops_goes_on_to_the_same_bytes(base: Path, tmp_path: Path, name: str) -> None:
    make_deterministic(1)
    wanted = recipe(num_epochs=3, batch_size=4, num_steps=6, dtype="bfloat16", **METHODS[name])
    items = examples_sharing(2, seed=1)
    straight, first = (Learner.open(base, wanted, device="cuda") for _ in range(2))
    list(train(straight, items))
    last = list(islice((each for each in train(first, items) if isinstance(each, StepMetrics)), 3))[-1]
    save_checkpoint(tmp_path, "c", first, last.progress, dataset_fingerprint="d")
    second = Learner.open(base, wanted, device="cuda")
    list(train(second, items, progress=load_checkpoint(tmp_path / "c", second, dataset_fingerprint="d")))
    for key, value in straight.state().items():
        assert torch.equal(second.state()[key], value), key


def test_memory_that_runs_out_halves_the_micro_batch(base: Path) -> None:
    items = examples_sharing(2, seed=1)
    learner = Learner.open(base, recipe(num_steps=1, max_microbatch_tokens=256), device="cuda")
    compute, rooms = learner.forward_backward, []

    def too_much(*given: Any, max_microbatch_tokens: int, **more: Any) -> Any:
        rooms.append(max_microbatch_tokens)
        if len(rooms) == 1:
            torch.empty(2**46, dtype=torch.uint8, device="cuda")  # raises as a card raises
        return compute(*given, max_microbatch_tokens=max_microbatch_tokens, **more)

    learner.forward_backward = too_much  # type: ignore[method-assign,assignment]
    updates = list(train(learner, items))
    assert rooms == [256, 128]
    assert any("Out of memory" in getattr(update, "message", "") for update in updates)


def test_the_same_greedy_answers() -> None:
    def answers(device: str) -> list[str]:
        loaded = load_base(embedded_directory(), device=device)
        with LocalEngine(Shop(models={"embedded": loaded}), EngineLimits()) as engine:
            asked = [ask(prompt, max_tokens=8) for prompt in prompts(loaded)]
            return [each.text for each in engine.generate(asked)]

    assert answers("cuda") == answers("cpu")
