"""Lean norms: the outputs of transformers to the last bit, and its gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

from tailor.models.norms import lean_norms, rms_norm


def drawn_norm(kind: Any = LlamaRMSNorm, dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(3)
    norm: Any = kind(48).to(dtype)
    nn.init.normal_(norm.weight, 1.0, 0.3)
    return norm


def lean(norm: nn.Module) -> Any:
    model = nn.Sequential(copy.deepcopy(norm))
    lean_norms(model)
    return model[0]


def passed(norm: Any, x: torch.Tensor, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x = x.clone().requires_grad_()
    output = norm(x)
    return (output, *torch.autograd.grad(output, [x, norm.weight], grad))


@pytest.mark.parametrize("kind", [LlamaRMSNorm, Qwen3RMSNorm])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_outputs_are_equal_and_gradients_too(kind: Any, dtype: torch.dtype, tolerance: float) -> None:
    norm = drawn_norm(kind, dtype)
    x, grad = (torch.randn(2, 7, 48).to(dtype) for _ in range(2))

    expected, found = passed(norm, x, grad), passed(lean(norm), x, grad)

    assert torch.equal(expected[0], found[0])
    for one, other in zip(expected[1:], found[1:], strict=True):
        assert (one - other).norm() <= tolerance * one.norm()
        assert one.dtype == other.dtype


def test_gradients_are_those_of_the_formula_in_double_precision() -> None:
    torch.manual_seed(1)
    x, weight, grad = torch.randn(3, 8), torch.randn(8), torch.randn(3, 8)
    wide = [tensor.double().requires_grad_() for tensor in (x, weight)]
    formula = wide[1] * wide[0] / (wide[0].square().mean(-1, keepdim=True) + 1e-6).sqrt()
    given = [tensor.requires_grad_() for tensor in (x, weight)]

    expected = torch.autograd.grad(formula, wide, grad.double())
    found = torch.autograd.grad(rms_norm(x, weight, 1e-6), given, grad)

    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one.float(), other, rtol=1e-5, atol=1e-6)


def test_another_formula_is_left_alone() -> None:
    assert "forward" not in vars(lean(drawn_norm(Gemma2RMSNorm)))


def test_a_copy_uses_its_own_weight() -> None:
    first = lean(drawn_norm())
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.weight.mul_(2.0)
    x = torch.randn(4, 48)

    assert torch.equal(second(x), 2.0 * first(x))
