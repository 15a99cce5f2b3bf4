"""Shared beginnings: computed once, and nothing else changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailor.training import Learner, TokenizedExample
from tailor.training.batches import microbatches_of, pack
from tailor.training.selfcheck import switch_to_plain
from tailor.training.sharing import LEAST_SAVED_TOKENS, apart, shared
from tests.models.methods import WANTED, shaken
from tests.models.tiny import tiny_directory
from tests.training.test_matches_trl import recipe

SHORT = st.lists(st.integers(3, 6), max_size=6)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        family: tiny_directory(folder / family, family, initializer_range=0.05)
        for family in ("llama", "qwen3", "gemma2")
    }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), SHORT, st.integers(0, 2), SHORT), min_size=1, max_size=8))
def test_every_sequence_is_found_again_along_its_path(
    parts: list[tuple[int, list[int], int, list[int]]],
) -> None:
    """Two levels of long beginnings, short middles and ends, so that all kinds of trees come up."""
    beginnings = [[], list(range(10, 40)), list(range(10, 60)), list(range(10, 30)) + [99] * 30]
    sequences = [
        torch.tensor([1, *beginnings[one], *middle, *([7] * 20 * two), *end, 2])
        for one, middle, two, end in parts
    ]
    tree = shared(sequences)
    assert all(parent < index for index, parent in enumerate(tree.parents))
    for sequence, places in zip(sequences, tree.places, strict=True):
        assert tree.ids_T[places].tolist() == sequence.tolist()
    assert len(tree.ids_T) == sum(tree.lengths) <= sum(map(len, sequences))
    # Whatever two sequences have in common is there once, but for less than a node is worth at each level.
    least = len({tuple(ids[: end + 1].tolist()) for ids in sequences for end in range(len(ids))})
    assert len(tree.ids_T) - least < LEAST_SAVED_TOKENS * 3 * len(sequences)


def test_exact_copies_cost_nothing_more() -> None:
    ids = torch.arange(50)
    tree = shared([ids, ids, ids[:20]])
    assert len(tree.ids_T) == 50
    assert len(apart([ids, ids]).ids_T) == 100


def examples_sharing(levels: int, *, seed: int) -> list[TokenizedExample]:
    """Eight examples below a tree of beginnings; some learn from tokens that others share."""
    random = torch.Generator().manual_seed(seed)

    def draw(count: int) -> torch.Tensor:
        return torch.randint(3, 500, (count,), generator=random)

    beginnings = [draw(24)]
    for _ in range(levels - 1):
        beginnings += [torch.cat([beginnings[-1], draw(20)])]
    examples = []
    for index in range(8):
        ids = torch.cat([beginnings[index % levels], draw(4 + 3 * index)])
        weights = torch.zeros(len(ids))
        weights[-3:] = 1.0
        weights[10:14] = 0.5 if index % 3 == 0 else 0.0
        examples.append(TokenizedExample(line=index + 1, fingerprint=str(index), ids=ids, weights=weights))
    return examples


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
@pytest.mark.parametrize("adapter", ["lora", "full"])
def test_loss_and_gradients_are_those_of_examples_computed_apart(
    bases: dict[str, Path], family: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for levels in (1, 2, 3):
        examples = examples_sharing(levels, seed=levels)
        assert len(pack(examples).ids_T) < 0.7 * len(pack(examples, share=False).ids_T)
        found: list[Any] = []
        for share in (True, False):
            learner = Learner.open(bases[family], recipe(adapter=adapter, rank=4, shard_size=8))
            monkeypatch.setattr(
                "tailor.training.objective.pack", lambda group, share, now=share: pack(group, share=now)
            )
            result = learner.forward_backward(examples, step=0)
            found.append((result, learner.gradients))
        assert found[0][0].loss == pytest.approx(found[1][0].loss, rel=1e-5)
        assert found[0][0].num_tokens == found[1][0].num_tokens
        for name, one, other in zip(learner.parameters, found[0][1], found[1][1], strict=True):
            scale = float(other.abs().max())
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * scale, msg=name)


def test_a_shared_beginning_counts_once_for_the_room_of_a_micro_batch() -> None:
    examples = examples_sharing(1, seed=1)
    own = [example.num_tokens - 24 for example in examples]
    assert [len(group) for group in microbatches_of(examples, 24 + sum(own))] == [8]
    assert len(microbatches_of(examples, 24 + sum(own), share=False)) > 1


@pytest.mark.parametrize(
    ("family", "quantization"),
    [("llama", None), ("qwen3", None), ("gemma2", None), ("qwen3", "int8"), ("qwen3", "nf4")],
)
@pytest.mark.parametrize("name", WANTED)
def test_every_method_computes_shared_and_packed_what_it_computes_plainly(
    bases: dict[str, Path], family: str, name: str, quantization: Any
) -> None:
    """Plainly: each example alone through transformers' eager attention."""
    examples = examples_sharing(3, seed=1)
    found: list[Any] = []
    for is_plain in (False, True):
        wanted = recipe(**WANTED[name], shard_size=8, quantization=quantization)
        learner = Learner.open(bases[family], wanted)
        learner.load_state({f"weight/{key}": value for key, value in shaken(learner.masters).items()})
        if is_plain:
            switch_to_plain(learner.loaded)
        found.append((learner.forward_backward(examples, step=0).loss, learner.gradients))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    for key, one, other in zip(learner.parameters, found[0][1], found[1][1], strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-5, key
        assert float(other.norm()) > 0, key
