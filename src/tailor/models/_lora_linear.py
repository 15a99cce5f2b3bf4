"""PEFT's LoRA layer with a forward and backward that do only the arithmetic needed.

Same values as PEFT's, three products instead of three products and two passes over the output; backward
keeps the input and the inner activations only.
"""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable


class LoraLinear(Linear):  # type: ignore[misc]
    """A frozen linear layer with one trainable low-rank update."""

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`x W^T + bias + scaling (dropout(x) A^T) B^T`."""
        name = self.active_adapters[0]
        down, up = self.lora_A[name].weight, self.lora_B[name].weight
        base = self.get_base_layer()
        dropped = self.lora_dropout[name](x) if self.lora_dropout[name].training else x
        if dropped is not x:
            output: Tensor = base(x) + (dropped @ down.t()) @ up.t() * self.scaling[name]
            return output
        updated: Tensor = _LowRankUpdate.apply(  # type: ignore[no-untyped-call]
            x, base.weight, base.bias, down, up, self.scaling[name]
        )
        return updated


class _LowRankUpdate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, down: Tensor, up: Tensor, scaling: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        inner = flat @ down.t()
        output = torch.nn.functional.linear(flat, weight, bias)
        output.addmm_(inner, up.t(), alpha=scaling)
        ctx.save_for_backward(flat, inner, weight, down, up)
        ctx.scaling = scaling
        ctx.shape = x.shape
        return output.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        flat, inner, weight, down, up = ctx.saved_tensors
        grad = grad_output.reshape(-1, grad_output.shape[-1])
        grad_inner = (grad @ up).mul_(ctx.scaling)
        grad_up = (grad.t() @ inner).mul_(ctx.scaling)
        grad_down = grad_inner.t() @ flat
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = (grad @ weight).addmm_(grad_inner, down).view(ctx.shape)
        return grad_x, None, None, grad_down, grad_up, None
