from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tailor.models import ATTENTION_NAME, DenseLayout, PackedLayout
from tailor.models.catalogue import MODEL_TYPES
from tests.models.tiny import VOCABULARY, tiny_model

LENGTHS = [5, 23, 1, 24, 11]


def _attention_inputs(dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(3)
    total = sum(LENGTHS)
    return tuple(torch.randn(heads, total, 16, dtype=dtype).requires_grad_() for heads in (4, 2, 2))


@pytest.mark.parametrize("window", [None, 1, 4, 100])
@pytest.mark.parametrize("softcap", [None, 2.0])
def test_blocks_equal_the_dense_reference_in_values_and_gradients(
    window: int | None, softcap: float | None
) -> None:
    results = []
    for layout in (PackedLayout(LENGTHS), DenseLayout(LENGTHS)):
        inputs = _attention_inputs(torch.float64)
        output = layout.attend(0, *inputs, scaling=0.3, sliding_window=window, softcap=softcap)
        weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
        results.append([output, *torch.autograd.grad((output * weights).sum(), inputs)])
    for packed, dense in zip(*results, strict=True):
        # The reference takes its softmax in float32.
        torch.testing.assert_close(packed, dense, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_tree_of_shared_beginnings_equals_the_dense_reference(data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=7))
    parents = [data.draw(st.integers(-1, i - 1)) for i in range(len(lengths))]
    window = data.draw(st.sampled_from([None, 1, 3, 50]))
    softcap = data.draw(st.sampled_from([None, None, 2.0]))
    results = []
    for layout in (PackedLayout(lengths, parents), DenseLayout(lengths, parents)):
        torch.manual_seed(3)
        shapes = [(heads, sum(lengths), 8) for heads in (4, 2, 2)]
        inputs = [torch.randn(shape, dtype=torch.float64).requires_grad_() for shape in shapes]
        output = layout.attend(0, *inputs, scaling=0.3, sliding_window=window, softcap=softcap)
        weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
        results.append([output, *torch.autograd.grad((output * weights).sum(), inputs)])
    for packed, dense in zip(*results, strict=True):
        torch.testing.assert_close(packed, dense, rtol=1e-5, atol=1e-6)


def test_a_segment_goes_on_where_the_one_before_it_ended() -> None:
    layout = PackedLayout([4, 2, 3, 1], [-1, 0, 0, 2])
    assert layout.positions.tolist() == [0, 1, 2, 3, 4, 5, 4, 5, 6, 7]
    assert layout.path(3).tolist() == [0, 1, 2, 3, 6, 7, 8]


@pytest.mark.parametrize("window", [None, 4])
def test_long_examples_take_the_kernel_without_scores(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = _attention_inputs(torch.float32)
    wanted = PackedLayout(LENGTHS).attend(0, *inputs, scaling=0.3, sliding_window=window, softcap=None)
    monkeypatch.setattr("tailor.models.attention._LONG_TOKENS", 10)
    found = PackedLayout(LENGTHS).attend(0, *inputs, scaling=0.3, sliding_window=window, softcap=None)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", sorted(MODEL_TYPES))
def test_a_packed_model_computes_what_transformers_computes_one_by_one(family: str) -> None:
    model = tiny_model(family)
    torch.manual_seed(5)
    examples = [torch.randint(VOCABULARY, (length,)) for length in LENGTHS]
    layout = PackedLayout(LENGTHS)

    def hidden(**inputs: Any) -> torch.Tensor:
        return model.model(use_cache=False, **inputs).last_hidden_state[0]  # type: ignore[no-any-return]

    wanted = torch.cat([hidden(input_ids=ids[None]) for ids in examples])
    wanted_gradients = _gradients(model, wanted)
    model.set_attn_implementation(ATTENTION_NAME)
    packed = {"input_ids": torch.cat(examples)[None], "position_ids": layout.positions[None]}
    found = hidden(**packed, layout=layout)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(hidden(**packed, layout=DenseLayout(LENGTHS)), wanted, rtol=1e-4, atol=1e-4)
    for name, gradient in _gradients(model, found).items():
        scale = float(wanted_gradients[name].abs().max())
        torch.testing.assert_close(gradient, wanted_gradients[name], rtol=1e-4, atol=1e-5 * scale, msg=name)


def _gradients(model: Any, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
    names = [name for name, _ in model.model.named_parameters()]
    weights = torch.linspace(-1, 1, hidden.numel()).view_as(hidden)
    return dict(
        zip(names, torch.autograd.grad((hidden * weights).sum(), list(model.model.parameters())), strict=True)
    )
