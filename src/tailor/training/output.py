"""The output layer and its loss, computed only where there is something to predict, tile by tile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tailor.models import ATTENTION_NAME, LoadedModel, moved
from tailor.training.batches import Batch

_TILE_ROWS = 256
"""Targets whose logits are held at once: few enough for a processor's cache, many enough to multiply well."""

_TILE_ELEMENTS = 2**24
"""Most logits held at once (64 MiB in float32), whatever the vocabulary."""

_CARD_TILE_ROWS = 2048
CARD_TILE_ELEMENTS = 2**26
"""The same on a card, whose many cores want larger products."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """The supervised objective over a batch with N targets."""

    total: Tensor
    """Sum of weight x loss; carries the gradient."""

    losses_N: Tensor
    """Negative log-likelihood of each target, in nats."""

    is_right_N: Tensor
    """Whether no token was likelier than the target."""


def supervised_losses(loaded: LoadedModel, batch: Batch) -> Losses:
    """Loss of a packed batch; gradients flow if autograd is on."""
    return _output_losses(loaded, hidden_of_targets(loaded, batch), batch, batch.weights_N)


def hidden_of_targets(loaded: LoadedModel, batch: Batch) -> Tensor:
    """`[N, E]`: what each target is predicted from."""
    return _hidden_states(loaded, batch).index_select(0, moved(batch.sources_N, loaded.model.device))


def hidden_of_ends(loaded: LoadedModel, batch: Batch) -> Tensor:
    """`[B, E]`: of each example's last token."""
    return _hidden_states(loaded, batch).index_select(0, moved(batch.ends_B, loaded.model.device))


def token_losses(
    loaded: LoadedModel, hidden_NE: Tensor, batch: Batch, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Each target's loss in nats, and whether no token was likelier; without gradient."""
    with torch.no_grad():
        losses = _output_losses(loaded, hidden_NE, batch, batch.weights_N, temperature)
    return losses.losses_N, losses.is_right_N


def weighted_losses(
    loaded: LoadedModel, hidden_NE: Tensor, batch: Batch, weights_N: Tensor, *, temperature: float = 1.0
) -> Tensor:
    """Sum of the targets' losses with other weights than the batch's; carries the gradient."""
    return _output_losses(loaded, hidden_NE, batch, weights_N, temperature).total


def _output_losses(
    loaded: LoadedModel, hidden_NE: Tensor, batch: Batch, weights_N: Tensor, temperature: float = 1.0
) -> Losses:
    device = loaded.model.device
    head = loaded.head
    config = loaded.model.config
    total, losses_N, is_right_N = _OutputLoss.apply(  # type: ignore[no-untyped-call]
        hidden_NE,
        head.weight,
        head.bias,
        moved(batch.targets_N, device),
        moved(weights_N, device),
        getattr(config, "final_logit_softcapping", None),
        1.0 / getattr(config, "logits_scaling", 1.0),
        temperature,
        torch.is_grad_enabled(),
    )
    return Losses(total=total, losses_N=losses_N, is_right_N=is_right_N)


def rows_at_once(vocabulary: int, device: torch.device) -> int:
    """Targets whose logits are held together."""
    is_card = device.type != "cpu"
    most_rows = _CARD_TILE_ROWS if is_card else _TILE_ROWS
    return max(1, min(most_rows, (CARD_TILE_ELEMENTS if is_card else _TILE_ELEMENTS) // vocabulary))


def is_packed(loaded: LoadedModel) -> bool:
    """Whether examples are computed side by side, and not one by one."""
    return bool(loaded.model.config._attn_implementation == ATTENTION_NAME)


def _hidden_states(loaded: LoadedModel, batch: Batch) -> Tensor:
    """`[T, E]` before the output layer; example by example where packing is switched off."""
    device = loaded.model.device
    ids_T = moved(batch.ids_T, device)
    if is_packed(loaded):
        output = loaded.body(
            input_ids=ids_T[None],
            position_ids=moved(batch.layout.positions[None], device),
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
        temperature: float,
        with_gradient: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        tile = rows_at_once(weight_VE.shape[0], hidden_NE.device)
        losses_N = torch.empty(len(hidden_NE), device=hidden_NE.device)
        is_right_N = torch.empty(len(hidden_NE), dtype=torch.bool, device=hidden_NE.device)
        grad_hidden = torch.empty_like(hidden_NE) if with_gradient and ctx.needs_input_grad[0] else None
        grad_weight = (
            torch.zeros_like(weight_VE, dtype=torch.float32)
            if with_gradient and ctx.needs_input_grad[1]
            else None
        )
        grad_bias = torch.zeros_like(bias_V) if bias_V is not None and grad_weight is not None else None
        factors_N = (weights_N * (scale / temperature)).to(hidden_NE.dtype)
        # Tiles of a large vocabulary are fresh pages of memory each time, unless they are used again.
        shape = (min(tile, len(hidden_NE)), weight_VE.shape[0])
        raw_tile, float_tile = (hidden_NE.new_empty(shape, dtype=dtype) for dtype in (None, torch.float32))
        slope = hidden_NE.new_empty(0)
        for begin in range(0, len(hidden_NE), tile):
            rows = slice(begin, begin + tile)
            targets = targets_N[rows, None]
            raw, logits = raw_tile[: len(targets)], float_tile[: len(targets)]
            if bias_V is None:
                torch.mm(hidden_NE[rows], weight_VE.t(), out=raw)
            else:
                torch.addmm(bias_V, hidden_NE[rows], weight_VE.t(), out=raw)
            logits.copy_(raw)
            logits.mul_(scale) if scale != 1.0 else None
            if softcap is not None:
                logits.div_(softcap).tanh_().mul_(softcap)
                slope = 1 - (logits / softcap).square() if with_gradient else slope
            logits.div_(temperature) if temperature != 1.0 else None
            largest, wanted = logits.amax(1, keepdim=True), logits.gather(1, targets)
            shares = torch.softmax(logits, 1, out=logits)
            # The largest share is 1 / sum(exp(logit - largest)): one pass less than logsumexp.
            losses = largest - shares.amax(1, keepdim=True).log() - wanted
            losses_N[rows], is_right_N[rows] = losses[:, 0], (wanted == largest)[:, 0]
            if grad_hidden is None and grad_weight is None:
                continue
            # share - 1 of the target by expm1: exact where the model is nearly sure.
            shares.scatter_(1, targets, torch.expm1(-losses))
            shares.mul_(slope) if softcap is not None else None
            grad, factors = raw.copy_(shares), factors_N[rows, None]
            if grad_hidden is not None:
                torch.mm(grad, weight_VE, out=grad_hidden[rows])
                grad_hidden[rows] *= factors
            if grad_weight is not None:
                grad_weight += grad.t() @ (hidden_NE[rows] * factors)
            if grad_bias is not None:
                grad_bias += (grad * factors).sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.weight_dtype = weight_VE.dtype
        ctx.mark_non_differentiable(losses_N, is_right_N)
        return (losses_N * weights_N).sum(), losses_N, is_right_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        return *kept_gradients(ctx, grad_total), None, None, None, None, None, None


def kept_gradients(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Of hidden states, weight and bias of an output layer, as its forward pass has kept them."""
    grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
    return (
        None if grad_hidden is None else grad_hidden * grad_total.to(grad_hidden.dtype),
        None if grad_weight is None else (grad_weight * grad_total).to(ctx.weight_dtype),
        None if grad_bias is None else grad_bias * grad_total.to(grad_bias.dtype),
    )
