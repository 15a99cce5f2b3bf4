from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tailor.errors import InvalidRequest
from tailor.models import (
    QUANTIZATIONS,
    PackedLayout,
    Quantization,
    QuantizedLinear,
    adapter_parameters,
    attach,
    load_base,
    make_dense,
    recompute_activations,
)
from tailor.models.catalogue import MODEL_TYPES
from tailor.models.quantized import _NF4, dense, load_quantized, quantized
from tests.models.methods import TINY_METHODS
from tests.models.tiny import tiny_directory

IDS = torch.arange(3, 30)


def _logits(loaded: Any) -> torch.Tensor:
    layout = PackedLayout([len(IDS)])
    return loaded.model(  # type: ignore[no-any-return]
        input_ids=IDS[None], position_ids=layout.positions[None], layout=layout, use_cache=False
    ).logits[0]


@pytest.mark.parametrize("shape", [(48, 64), (5, 7), (1, 1), (130, 33)])
def test_nf4_takes_the_nearest_of_its_values(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    weight = torch.randn(shape) * 0.02
    found = quantized("nf4", weight, None, torch.float32).weight
    flat = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % 64)).view(-1, 64)
    scale = flat.abs().amax(1, keepdim=True).half().float()
    nearest = (flat[..., None] / scale[..., None] - torch.tensor(_NF4)).abs().argmin(-1)
    wanted = (torch.tensor(_NF4)[nearest] * scale).flatten()[: weight.numel()].view(shape)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)


def test_int8_is_within_half_a_step() -> None:
    torch.manual_seed(1)
    weight = torch.randn(48, 64)
    found = quantized("int8", weight, None, torch.float32).weight
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((found - weight).abs() <= step * 0.5001).all()


@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_rows_and_blocks_of_zeros_stay_zeros(kind: Quantization) -> None:
    weight = torch.zeros(4, 64)
    weight[1] = torch.linspace(-1, 1, 64)
    found = quantized(kind, weight, None, torch.float32).weight
    assert found.isfinite().all()
    assert not found[[0, 2, 3]].any()


@pytest.mark.parametrize("kind", QUANTIZATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_products_and_gradients_are_those_of_the_rounded_weights(
    kind: Quantization, dtype: torch.dtype
) -> None:
    torch.manual_seed(1)
    layer = quantized(kind, torch.randn(48, 64), torch.randn(48), dtype)
    whole = dense(layer)
    results = []
    for each in (layer, whole):
        torch.manual_seed(2)
        x = torch.randn(2, 5, 64, dtype=dtype).requires_grad_(True)
        output = each(x)
        results.append((output, *torch.autograd.grad(output.sum(), x)))
    for found, wanted in zip(*results, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("kind", ["int8", "nf4"])
def test_what_is_kept_is_small_and_not_trained(kind: Quantization) -> None:
    layer = quantized(kind, torch.randn(256, 512), None, torch.bfloat16)
    bits = 8 * sum(buffer.nbytes for buffer in layer.buffers()) / (256 * 512)
    assert bits == {"int8": 8.0625, "nf4": 4.25}[kind]
    assert not list(layer.parameters())


@pytest.mark.parametrize("family", sorted(MODEL_TYPES))
@pytest.mark.parametrize("kind", QUANTIZATIONS)
def test_a_base_is_rounded_while_it_is_read(tmp_path: Path, family: str, kind: Quantization) -> None:
    """Everything but the linear layers is as transformers loads it, computed buffers among it."""
    directory = tiny_directory(tmp_path, family)
    loaded, plain = load_base(directory, quantization=kind), load_base(directory)
    for path, module in plain.model.named_modules():
        found = loaded.model.get_submodule(path)
        if isinstance(found, QuantizedLinear):
            expected = quantized(kind, module.weight, module.bias, torch.float32)
            assert torch.equal(found.codes, expected.codes)
            assert torch.equal(found.scales, expected.scales)
            module.weight = torch.nn.Parameter(expected.weight)
    assert sum(isinstance(m, QuantizedLinear) for m in loaded.model.modules()) == 7 * 3
    assert loaded.stop_ids == plain.stop_ids
    with torch.no_grad():
        wanted = _logits(plain)
        torch.testing.assert_close(_logits(loaded), wanted, rtol=1e-5, atol=1e-5)
        make_dense(loaded.model)
        assert not any(isinstance(m, QuantizedLinear) for m in loaded.model.modules())
        torch.testing.assert_close(_logits(loaded), wanted, rtol=1e-5, atol=1e-5)


def test_files_of_another_architecture_are_refused(tmp_path: Path) -> None:
    from transformers import AutoConfig

    directory = tiny_directory(tmp_path, "llama")
    config = AutoConfig.from_pretrained(directory)
    config.num_hidden_layers = 4
    with pytest.raises(InvalidRequest, match=r"disagree about 'model\.layers\.3"):
        load_quantized(directory, config, "nf4", dtype=torch.float32, attention="eager")


@pytest.mark.parametrize("name", TINY_METHODS)
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_computing_activations_again_changes_no_bit(tmp_path: Path, name: str, family: str) -> None:
    directory = tiny_directory(tmp_path, family)
    results = []
    for is_again in (False, True):
        loaded = load_base(directory, quantization="nf4")
        attach(loaded, TINY_METHODS[name], seed=2)
        if is_again:
            recompute_activations(loaded.model)
        own = adapter_parameters(loaded.model)
        loss = _logits(loaded).square().mean()
        results.append([loss, *torch.autograd.grad(loss, list(own.values()))])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))
