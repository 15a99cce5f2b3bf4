"""Supervised loss: weighted negative log-likelihood, computed only where there is something to predict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tailor.models import ATTENTION_NAME, LoadedModel
from tailor.training.batches import Batch, TokenizedExample, microbatches_of, pack

_TILE_ELEMENTS = 2**23
"""Logits held at once (32 MiB in float32)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The supervised objective over a batch with N targets."""

    total: Tensor
    """Sum of weight x loss; carries the gradient."""

    losses_N: Tensor
    """Negative log-likelihood of each target, in nats."""

    is_right_N: Tensor
    """Whether the likeliest token was the target."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExampleScore:
    """How well a model predicts one example's answers."""

    loss_sum: float
    """Weighted negative log-likelihood, in nats."""

    num_tokens: int
    """Targets it was summed over."""

    num_correct: int
    """Targets that were the likeliest token."""


def supervised_losses(loaded: LoadedModel, batch: Batch) -> Losses:
    """Loss of a packed batch; gradients flow if autograd is on."""
    device = loaded.model.device
    hidden_TE = _hidden_states(loaded, batch)
    hidden_NE = hidden_TE.index_select(0, batch.sources_N.to(device))
    head = loaded.head
    config = loaded.model.config
    total, losses_N, is_right_N = _OutputLoss.apply(  # type: ignore[no-untyped-call]
        hidden_NE,
        head.weight,
        head.bias,
        batch.targets_N.to(device),
        batch.weights_N.to(device),
        getattr(config, "final_logit_softcapping", None),
        1.0 / getattr(config, "logits_scaling", 1.0),
        torch.is_grad_enabled(),
    )
    return Losses(total=total, losses_N=losses_N, is_right_N=is_right_N)


def score(
    loaded: LoadedModel, examples: Sequence[TokenizedExample], *, max_microbatch_tokens: int = 4096
) -> list[ExampleScore]:
    """Loss and token accuracy of each example, without training on it."""
    by_length = sorted(range(len(examples)), key=lambda i: examples[i].num_tokens)
    scores: list[ExampleScore] = []
    with torch.inference_mode():
        for group in microbatches_of([examples[i] for i in by_length], max_microbatch_tokens):
            batch = pack(group)
            losses = supervised_losses(loaded, batch)
            owners = batch.examples_N
            weighted = losses.losses_N.cpu().double() * batch.weights_N
            sums = torch.zeros(len(group), dtype=torch.double).index_add_(0, owners, weighted)
            counts = torch.bincount(owners, minlength=len(group))
            right = torch.bincount(owners[losses.is_right_N.cpu()], minlength=len(group))
            scores += [
                ExampleScore(loss_sum=float(s), num_tokens=int(n), num_correct=int(r))
                for s, n, r in zip(sums, counts, right, strict=True)
            ]
    places = {index: place for place, index in enumerate(by_length)}
    return [scores[places[i]] for i in range(len(examples))]


def _hidden_states(loaded: LoadedModel, batch: Batch) -> Tensor:
    """`[T, E]` before the output layer; example by example where packing is switched off."""
    device = loaded.model.device
    ids_T = batch.ids_T.to(device)
    if loaded.model.config._attn_implementation == ATTENTION_NAME:
        output = loaded.body(
            input_ids=ids_T[None],
            position_ids=batch.layout.positions[None].to(device),
            layout=batch.layout,
            use_cache=False,
        )
        return output.last_hidden_state[0]  # type: ignore[no-any-return]
    parts = [
        loaded.body(input_ids=ids[None], use_cache=False).last_hidden_state[0]
        for ids in torch.split(ids_T, list(batch.layout.lengths))
    ]
    return torch.cat(parts)


class _OutputLoss(torch.autograd.Function):
    """Output layer and cross-entropy tile by tile; gradients are made on the way, logits never kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NE: Tensor,
        weight_VE: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        weights_N: Tensor,
        softcap: float | None,
        scale: float,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tile = max(1, _TILE_ELEMENTS // weight_VE.shape[0])
        losses_N = torch.empty(len(hidden_NE), device=hidden_NE.device)
        is_right_N = torch.empty(len(hidden_NE), dtype=torch.bool, device=hidden_NE.device)
        grad_hidden = torch.empty_like(hidden_NE) if with_gradient and ctx.needs_input_grad[0] else None
        grad_weight = (
            torch.zeros_like(weight_VE, dtype=torch.float32)
            if with_gradient and ctx.needs_input_grad[1]
            else None
        )
        grad_bias = torch.zeros_like(bias_V) if bias_V is not None and grad_weight is not None else None
        for begin in range(0, len(hidden_NE), tile):
            rows = slice(begin, begin + tile)
            targets = targets_N[rows, None]
            logits = torch.nn.functional.linear(hidden_NE[rows], weight_VE, bias_V).float()
            logits.mul_(scale) if scale != 1.0 else None
            if softcap is not None:
                logits.div_(softcap).tanh_().mul_(softcap)
            is_right_N[rows] = logits.argmax(1) == targets[:, 0]
            norms = torch.logsumexp(logits, 1, keepdim=True)
            losses_N[rows] = (norms - logits.gather(1, targets))[:, 0]
            if grad_hidden is None and grad_weight is None:
                continue
            slope = (1 - (logits / softcap).square()) if softcap is not None else None
            grad = logits.sub_(norms).exp_()
            grad.scatter_add_(1, targets, -torch.ones_like(targets, dtype=grad.dtype))
            grad.mul_(weights_N[rows, None] * scale)
            grad = (grad.mul_(slope) if slope is not None else grad).to(hidden_NE.dtype)
            if grad_hidden is not None:
                torch.mm(grad, weight_VE, out=grad_hidden[rows])
            if grad_weight is not None:
                grad_weight += grad.t() @ hidden_NE[rows]
            if grad_bias is not None:
                grad_bias += grad.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.weight_dtype = weight_VE.dtype
        ctx.mark_non_differentiable(losses_N, is_right_N)
        return (losses_N * weights_N).sum(), losses_N, is_right_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * grad_total.to(grad_hidden.dtype),
            None if grad_weight is None else (grad_weight * grad_total).to(ctx.weight_dtype),
            None if grad_bias is None else grad_bias * grad_total.to(grad_bias.dtype),
            None,
            None,
            None,
            None,
            None,
        )
