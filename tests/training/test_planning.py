"""What training will take, before it is taken."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tailor.data import Lesson
from tailor.models import embedded_directory, inspect
from tailor.training import Imitation, Learner, Recipe, TokenizedExample, TokenizedLesson, TokenizedOpinion
from tailor.training.batches import microbatches_of, pack, shards_of
from tailor.training.beside import survey_beside
from tailor.training.fitting import estimate_seconds, fit
from tailor.training.planning import estimate_flops, estimate_memory, load_of, survey

BASE = inspect(embedded_directory())
RECIPE = Recipe(
    num_epochs=1,
    batch_size=8,
    num_steps=4,
    learning_rate=1e-4,
    max_context_tokens=1024,
    checkpoint_every_steps=4,
    shard_size=4,
    max_microbatch_tokens=1024,
)


def example(number: int, length: int, shared: int = 0) -> TokenizedExample:
    """Random tokens behind a beginning that all examples share; the last four are targets."""
    own = torch.Generator().manual_seed(number)
    ids = torch.cat([torch.arange(3, 3 + shared), torch.randint(3, 8_000, (length - shared,), generator=own)])
    weights = torch.zeros(length)
    weights[-4:] = 1.0
    return TokenizedExample(line=number, fingerprint=str(number), ids=ids, weights=weights)


@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_what_layers_are_said_to_keep_is_what_autograd_keeps(adapter: str) -> None:
    recipe = replace(RECIPE, adapter=adapter, rank=64)  # type: ignore[arg-type]
    learner = Learner.open(embedded_directory(), recipe)
    weights = {each.untyped_storage().data_ptr() for each in learner.loaded.model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    examples = [example(1, 600), example(2, 600)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        learner.objective.part(learner.loaded, examples)
    load = replace(load_of(examples, share=True), targets=0)
    passing = 6 * 4 * BASE.num_heads * load.score_pairs
    foretold = estimate_memory(BASE, recipe, load, num_workers=1).activations_bytes - passing
    assert foretold == pytest.approx(sum(kept.values()), rel=0.1)


def test_the_survey_counts_what_training_will_compute() -> None:
    examples = [example(number, 100, shared=40) for number in range(16)]
    found = survey(examples, RECIPE)
    batches = [
        pack(group)
        for begin in (0, 8)
        for shard in shards_of(examples[begin : begin + 8], 4)
        for group in microbatches_of(shard, 1024)
    ]
    assert found.step.tokens == sum(len(batch.ids_T) for batch in batches) // 2 == 2 * (40 + 4 * 60)
    assert found.step.targets == 8 * 4
    assert found.smallest_room == 100


def test_with_room_nothing_changes_and_without_it_the_harmless_rungs_come_first() -> None:
    examples = [example(number, 200) for number in range(16)]
    asked = fit(BASE, RECIPE, examples, room_bytes=None, num_workers=1)
    assert (asked.recipe, asked.changes, asked.fits) == (RECIPE, (), True)
    total = asked.memory.total_bytes
    smaller = fit(BASE, RECIPE, examples, room_bytes=total - 1, num_workers=1)
    assert smaller.fits
    assert smaller.recipe == replace(RECIPE, max_microbatch_tokens=512)
    assert "512 tokens" in smaller.changes[0]
    least = fit(BASE, RECIPE, examples, room_bytes=0, num_workers=1)
    assert not least.fits
    assert least.offer is None
    assert least.recipe == replace(RECIPE, max_microbatch_tokens=200, recompute_activations=True)


def test_a_base_too_large_for_the_room_is_offered_rounded() -> None:
    large = replace(BASE, num_parameters=7_000_000_000, num_linear=6_500_000_000)
    examples = [example(number, 200) for number in range(16)]
    recipe = replace(RECIPE, dtype="bfloat16")
    found = fit(large, recipe, examples, room_bytes=10 * 10**9, num_workers=1)
    assert found.offer is not None
    assert found.offer[0].quantization == "int8"
    assert fit(large, recipe, examples, room_bytes=6 * 10**9, num_workers=1).offer[0].quantization == "nf4"  # type: ignore[index]
    full = replace(recipe, adapter="full")
    assert fit(large, full, examples, room_bytes=6 * 10**9, num_workers=1).offer is None


def test_arithmetic_grows_with_what_is_trained_and_what_is_computed_again() -> None:
    load = load_of([example(1, 200)], share=True)
    plain = estimate_flops(BASE, RECIPE, load)
    assert estimate_flops(BASE, replace(RECIPE, recompute_activations=True), load) > plain
    assert estimate_flops(BASE, replace(RECIPE, adapter="full"), load) > 1.1 * plain
    seconds = estimate_seconds(BASE, RECIPE, survey([example(1, 200)], RECIPE))
    assert seconds > 0


def opinion(number: int, length: int, strange: int) -> TokenizedOpinion:
    return TokenizedOpinion(
        line=number,
        fingerprint=str(number),
        example=example(number, length),
        stranger=example(100 + number, strange),
        is_desirable=True,
    )


def test_the_strangers_of_opinions_are_counted() -> None:
    opinions = [opinion(number, 100, 150) for number in range(8)]
    recipe = replace(RECIPE, method="kto")
    found = fit(BASE, recipe, opinions, room_bytes=None, num_workers=1)
    assert found.workload.step.tokens == 8 * 100
    assert found.beside is not None
    assert (found.beside.teacher, found.beside.step.tokens, found.beside.step.targets) == (
        None,
        8 * 150,
        8 * 4,
    )
    # A pass forward costs half of one with gradients through a frozen base, but for the adapter.
    there = replace(found.beside, step=found.workload.step).flops(BASE)
    assert 0.3 < there / estimate_flops(BASE, recipe, found.workload.step) < 0.5
    assert survey_beside(opinions, replace(recipe, opinion_loss="apo_zero_unpaired"), None) is None
    # Where activations are computed again, a step of short answers may take less than long strangers do.
    long = [opinion(number, 100, 1000) for number in range(8)]
    few = replace(recipe, recompute_activations=True, max_microbatch_tokens=100)
    short = estimate_memory(BASE, few, load_of(long[:1], share=True), num_workers=1)
    assert (
        fit(BASE, few, long, room_bytes=None, num_workers=1).memory.activations_bytes
        > short.activations_bytes
    )


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_teacher_takes_its_weights_and_its_time(num_workers: int) -> None:
    examples = [example(number, 200) for number in range(16)]
    teacher = replace(BASE, num_parameters=40_000_000, num_linear=30_000_000, num_layers=12)
    alone = fit(BASE, RECIPE, examples, room_bytes=None, num_workers=num_workers)
    recipe = replace(RECIPE, method="distillation", imitation=Imitation(teacher="t"))
    items = [each_lesson(each) for each in examples]
    found = fit(BASE, recipe, items, room_bytes=None, num_workers=num_workers, teacher=teacher)
    assert found.memory.base_bytes == alone.memory.base_bytes + 4 * 40_000_000
    assert found.beside is not None and found.beside.step == found.workload.step
    assert found.beside.flops(BASE) > 2.0 * 30_000_000 * found.workload.step.tokens
    bfloat16 = replace(recipe, dtype="bfloat16")
    halved = fit(BASE, bfloat16, items, room_bytes=None, num_workers=num_workers, teacher=teacher)
    assert halved.memory.base_bytes == (alone.memory.base_bytes + 4 * 40_000_000) // 2


def each_lesson(each: TokenizedExample) -> TokenizedLesson:
    asked = Lesson(line=each.line, messages=({"role": "user", "content": "?"},), item={"line": each.line})
    return TokenizedLesson(
        line=each.line,
        fingerprint=each.fingerprint,
        prompt_ids=(1, 2),
        example=each,
        has_answer=True,
        source=asked,
    )
