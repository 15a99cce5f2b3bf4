"""Root mean square norms with a lean backward pass: the same outputs, a third of the time on a processor.

Autograd takes the norm apart into six steps and goes back over each; written out, the gradient is three
passes, and only the normalised input has to be kept (Zhang and Sennrich 2019, arXiv:1910.07467).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def lean_norms(model: nn.Module) -> None:
    """Let every norm of a model that computes Llama's formula do so through `rms_norm`, in place.

    Whether it does is tried out, once for each class: the outputs must be the same to the last bit.
    """
    kinds: dict[type[nn.Module], bool] = {}
    for module in model.modules():
        kind = type(module)
        if not kind.__name__.endswith("RMSNorm"):
            continue
        if kind not in kinds:
            kinds[kind] = _is_llamas(module)
        if kinds[kind]:
            module.forward = _Lean(module)


def rms_norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """`weight * x / rms(x)` over the last dimension, computed in float32; the type of `x`."""
    output: Tensor = _RmsNorm.apply(x, weight, epsilon)  # type: ignore[no-untyped-call]
    return output


class _Lean:
    """The forward function of one norm; a copy of a model makes it a function of the copy."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, hidden_states: Tensor) -> Tensor:
        module = self._module
        return rms_norm(hidden_states, module.weight, module.variance_epsilon)  # type: ignore[arg-type]


def _is_llamas(module: nn.Module) -> bool:
    if not hasattr(module, "variance_epsilon") or len(list(module.parameters())) != 1:
        return False
    weight = module.weight
    if not isinstance(weight, Tensor) or weight.is_meta:
        return False
    with torch.no_grad():
        ramp = torch.linspace(-3.0, 5.0, 4 * len(weight), device=weight.device)
        sample = (ramp.sin() * ramp).view(4, -1).to(weight.dtype)
        return torch.equal(module(sample), rms_norm(sample, weight, module.variance_epsilon))  # type: ignore[arg-type]


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + epsilon)
        normal = (wide * inverse).to(x.dtype)
        ctx.save_for_backward(normal, inverse, weight)
        return weight * normal

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        normal, inverse, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (grad * normal).sum(tuple(range(grad.ndim - 1)))
        if ctx.needs_input_grad[0]:
            wide, unit = (grad * weight).float(), normal.float()
            along = (wide * unit).mean(-1, keepdim=True)
            # In float32 `float()` copies nothing, but the product with the weight is ours to overwrite.
            grad_x = wide.addcmul_(unit, along, value=-1).mul_(inverse).to(grad.dtype)
        return grad_x, grad_weight, None
