from __future__ import annotations

from typing import Any

import pytest
import torch

from tailor.data import Example
from tailor.models import embedded_directory, load_template
from tailor.training import tokenize
from tailor.training.batches import DataOrder, epoch_order, microbatches_of, pack, shards_of
from tests.training.test_matches_trl import examples_of, recipe


def _chat(line: int, question: str, **answer: Any) -> Example:
    messages = ({"role": "user", "content": question}, {"role": "assistant", "content": "yes", **answer})
    return Example(line=line, messages=messages)


def test_long_examples_lose_their_end_and_those_without_answer_are_reported() -> None:
    template = load_template(embedded_directory())
    examples = [
        _chat(1, "Is it?"),
        _chat(2, "Is it? " * 20),
        _chat(3, "Is it?", content="yes " * 30),
        _chat(4, "Is it?", weight=0),
    ]
    tokenized = tokenize(examples, template, max_tokens=24)
    assert [example.line for example in tokenized.examples] == [1, 3]
    assert (tokenized.skipped_lines, tokenized.truncated_lines) == ((2, 4), (2, 3))
    assert tokenized.facts.num_tokens == sum(example.num_tokens for example in tokenized.examples)
    assert tokenized.examples[1].num_tokens == 24
    assert tokenized.examples[0].fingerprint == examples[0].fingerprint


def test_the_order_of_an_epoch_depends_on_seed_epoch_and_content_alone() -> None:
    examples = examples_of([4] * 20)
    order = [example.line for example in epoch_order(examples, seed=1, epoch=0)]
    assert order == [example.line for example in epoch_order(examples[::-1], seed=1, epoch=0)]
    others = [epoch_order(examples, seed=seed, epoch=epoch) for seed, epoch in ((1, 1), (2, 0))]
    assert all([example.line for example in other] != order for other in others)
    # Taking one example away leaves the order of the others as it was.
    without = [example.line for example in epoch_order(examples[1:], seed=1, epoch=0)]
    assert without == [line for line in order if line != 1]


def test_every_epoch_sees_every_example_once() -> None:
    examples = examples_of([4] * 11)
    order = DataOrder(examples, recipe(batch_size=4, num_steps=6))
    assert order.steps_per_epoch == 3
    for epoch in (0, 1):
        steps = range(3 * epoch, 3 * epoch + 3)
        lines = [example.line for step in steps for example in order.examples_of(step)]
        assert sorted(lines) == list(range(1, 12))
        assert [order.ends_epoch(step) for step in steps] == [False, False, True]
        assert {order.epoch_of(step) for step in steps} == {epoch}


def test_microbatches_keep_the_order_and_the_bound() -> None:
    examples = examples_of([5, 6, 20, 3, 3, 3])
    groups = microbatches_of(examples, 11)
    assert [[example.num_tokens for example in group] for group in groups] == [[5, 6], [20], [3, 3, 3]]
    assert [len(shard) for shard in shards_of(examples, 4)] == [4, 2]


def test_packing_points_every_target_at_the_token_before_it() -> None:
    examples = examples_of([9, 4, 6])
    batch = pack(examples)
    assert torch.equal(batch.ids_T[batch.sources_N + 1], batch.targets_N)
    for index, example in enumerate(examples):
        mine = batch.examples_N == index
        assert int(mine.sum()) == int((example.weights > 0).sum())
        assert torch.equal(batch.targets_N[mine], example.ids[example.weights > 0])
        assert float(batch.weights_N[mine].sum()) == pytest.approx(example.total_weight)
    assert batch.layout.positions.tolist() == [*range(9), *range(4), *range(6)]
