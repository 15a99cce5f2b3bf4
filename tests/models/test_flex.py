"""Attention as a card computes it: by torch's own definition of its kernels, equal to the dense reference."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from tailor.models import DenseLayout, Layout
from tailor.models.attention import PrefixedLayout
from tailor.models.card import CardAttention, VarlenPlan
from tailor.models.flex import SQUARE, FlexPlan
from tailor.models.forest import Forest
from tests.models.cards import flex_by_blocks, seen_by_squares, use_flex_by_definition, varlen_by_definition

Kernel = Callable[[Forest, torch.Tensor, torch.Tensor, int | None], Any]


class Card:
    """A layout that always takes the kernel under test."""

    def __init__(self, forest: Forest, kernel: Kernel) -> None:
        self._forest, self._kernel = forest, kernel

    def attend(
        self,
        layer_index: int,
        query_HTD: torch.Tensor,
        key_KTD: torch.Tensor,
        value_KTD: torch.Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:
        plan = self._kernel(self._forest, query_HTD, key_KTD, sliding_window)
        return plan.attend(query_HTD, key_KTD, value_KTD, scaling, softcap)  # type: ignore[no-any-return]


def by_flex(forest: Forest, query: torch.Tensor, key: torch.Tensor, window: int | None) -> FlexPlan:
    return FlexPlan(forest, key.shape[1] - query.shape[1], window, query.device)


def by_varlen(forest: Forest, query: torch.Tensor, key: torch.Tensor, window: int | None) -> VarlenPlan:
    return VarlenPlan(forest, window, query.device)


def some_forest(dice: Random, *, longest: int) -> Forest:
    """Up to nine segments on up to four levels, so that squares are cut everywhere."""
    count = dice.randint(1, 9)
    lengths = [dice.choice([1, dice.randint(1, 20), dice.randint(1, longest)]) for _ in range(count)]
    return Forest(lengths, [dice.randint(-1, i - 1) for i in range(count)])


def results(
    layout: Layout, num_tokens: int, *, prefix: int, window: int | None, softcap: float | None, heads: int
) -> list[torch.Tensor]:
    """Output and every gradient."""
    random = torch.Generator().manual_seed(3)
    shapes = [(heads, num_tokens, 16), *[(2, num_tokens, 16)] * 2, *[(2, prefix, 16)] * 2]
    inputs = [torch.randn(shape, generator=random).requires_grad_() for shape in shapes]
    if prefix:
        layout = PrefixedLayout(layout, [(inputs[3], inputs[4])])
    else:
        del inputs[3:]
    output = layout.attend(0, *inputs[:3], scaling=0.3, sliding_window=window, softcap=softcap)
    weights = torch.linspace(-1, 1, output.numel()).view_as(output)
    return [output, *torch.autograd.grad((output * weights).sum(), inputs)]


def assert_equal_to_dense(forest: Forest, kernel: Kernel, **how: Any) -> None:
    num_tokens = forest.starts[-1]
    found = results(Card(forest, kernel), num_tokens, **how)
    wanted = results(DenseLayout(forest.lengths, forest.parents), num_tokens, **how)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", range(24))
def test_flex_attention_of_any_forest_equals_the_dense_reference(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once as torch defines FlexAttention, once as its kernels go through the squares that we list."""
    dice = Random(seed)
    forest = some_forest(dice, longest=90)
    how: dict[str, Any] = {
        "prefix": dice.choice([0, 0, 5, 130]),
        "window": dice.choice([None, 1, 7, 60, 500]),
        "softcap": dice.choice([None, 2.0]),
        "heads": dice.choice([2, 4, 6]),
    }
    with monkeypatch.context() as patch:
        use_flex_by_definition(patch)
        assert_equal_to_dense(forest, by_flex, **how)
    monkeypatch.setattr("tailor.models.flex.kernel", lambda: flex_by_blocks)
    assert_equal_to_dense(forest, by_flex, **how)


@pytest.mark.parametrize("window", [None, 1, 7, 500])
def test_flash_attention_of_separate_examples_equals_the_dense_reference(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailor.models.card.varlen_kernel", lambda: varlen_by_definition)
    for heads in (2, 6):
        assert_equal_to_dense(
            Forest([5, 23, 1, 24]), by_varlen, prefix=0, window=window, softcap=None, heads=heads
        )


@pytest.mark.parametrize("seed", range(12))
def test_no_square_is_forgotten_and_none_is_full_that_is_not(seed: int) -> None:
    dice = Random(100 + seed)
    forest = some_forest(dice, longest=600)
    num_prefix = dice.choice([0, 0, 40, 300])
    plan = FlexPlan(forest, num_prefix, dice.choice([None, None, 100, 300]), torch.device("cpu"))
    mask = plan.mask
    theirs = create_block_mask(mask.mask_mod, 1, 1, plan.num_queries, plan.num_keys, device="cpu")
    assert torch.equal(seen_by_squares(mask), seen_by_squares(theirs))
    # Few squares are asked about in vain, or asked about where nobody needs to.
    asked, needed = int(mask.kv_num_blocks.sum()), int(theirs.kv_num_blocks.sum())
    assert asked - needed <= _count(theirs.full_kv_num_blocks) + 4
    assert plan.num_queries % SQUARE == plan.num_keys % SQUARE == 0


def test_a_long_example_is_mostly_full_squares() -> None:
    mask = FlexPlan(Forest([2048]), 0, None, torch.device("cpu")).mask
    assert int(mask.kv_num_blocks.sum()) == 16
    assert _count(mask.full_kv_num_blocks) == 15 * 16 // 2


def _count(counts: torch.Tensor | None) -> int:
    assert counts is not None
    return int(counts.sum())


def test_the_kernel_is_chosen_by_what_the_layer_is() -> None:
    def plan(
        forest: Forest, *, dtype: torch.dtype = torch.bfloat16, size: int = 64, prefix: int = 0, **layer: Any
    ) -> Any:
        query, key = torch.empty(4, 9, size, dtype=dtype), torch.empty(2, 9 + prefix, size, dtype=dtype)
        return CardAttention(forest).plan(query, key, layer.get("window"), layer.get("softcap"))

    alone, sharing = Forest([4, 5]), Forest([4, 5], [-1, 0])
    assert isinstance(plan(alone), VarlenPlan)
    assert isinstance(plan(alone, window=3), VarlenPlan)
    for other in (plan(sharing), plan(alone, prefix=3), plan(alone, softcap=2.0)):
        assert isinstance(other, FlexPlan)
    assert isinstance(plan(alone, dtype=torch.float32), FlexPlan)
    assert plan(sharing, size=8) is None
    assert plan(alone, dtype=torch.float64) is None


def test_layers_with_the_same_window_share_a_plan_and_a_window_beyond_all_is_none() -> None:
    card = CardAttention(Forest([4, 5], [-1, 0]))
    query = torch.empty(4, 9, 16)
    assert card.plan(query, query, 9, None) is card.plan(query, query, None, None)
    assert card.plan(query, query, 3, None) is not card.plan(query, query, None, None)


def test_batches_of_all_sizes_are_compiled_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler in front of the kernels sees two kinds of batches: with a prefix, and without."""
    from torch._dynamo.testing import CompileCounterWithBackend
    from torch.nn.attention.flex_attention import flex_attention

    torch._dynamo.reset()
    counter = CompileCounterWithBackend("eager")
    compiled = torch.compile(flex_attention, dynamic=True, fullgraph=True, backend=counter)
    monkeypatch.setattr("tailor.models.flex.kernel", lambda: compiled)
    dice = Random(1)
    for prefix in (0, 0, 0, 0, 20, 20, 0, 20):
        forest = some_forest(dice, longest=400)
        num_tokens = forest.starts[-1]
        query, key = torch.randn(4, num_tokens, 16), torch.randn(2, num_tokens + prefix, 16)
        with torch.no_grad():
            by_flex(forest, query, key, None).attend(query, key, key, 0.3, None)
    torch._dynamo.reset()
    assert counter.frame_count <= 2
