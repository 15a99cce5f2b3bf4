"""How far a student's next-token distribution is from a teacher's, tile by tile, with exact gradients.

The generalised Jensen-Shannon divergence of Agarwal et al. 2023 (arXiv:2306.13649), with t the teacher's
distribution, s the student's, and m = (1 - beta) s + beta t:

    beta = 0      KL(t || s)       the student covers whatever the teacher may say
    beta = 1      KL(s || t)       the student says nothing that the teacher would not
    in between    beta KL(t || m) + (1 - beta) KL(s || m)

Its slope at the student's logits z (over the temperature) is s - t for beta = 0, and otherwise
w s (log(s/m) - sum of s log(s/m)) with w = 1 - beta, or w = 1 and m = t for beta = 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from tailor.models import LoadedModel
from tailor.training.output import kept_gradients

_TILE_ROWS = 256
_TILE_ELEMENTS = 2**23
"""Most logits of each model held at once (32 MiB in float32), whatever the vocabulary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Divergences:
    """Over N places."""

    total: Tensor
    """Sum of weight x divergence; carries the gradient."""

    divergences_N: Tensor
    """Of each place, in nats."""

    agree_N: Tensor
    """Whether both find the same token likeliest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layer:
    """An output layer: hidden states to logits."""

    head: nn.Linear
    softcap: float | None
    scale: float

    @classmethod
    def of(cls, loaded: LoadedModel) -> _Layer:
        config = loaded.model.config
        return cls(
            head=loaded.head,
            softcap=getattr(config, "final_logit_softcapping", None),
            scale=1.0 / getattr(config, "logits_scaling", 1.0),
        )

    def logits(self, hidden_NE: Tensor, num_tokens: int) -> Tensor:
        """`[N, V]` float32 of the first `num_tokens` tokens."""
        bias = self.head.bias
        logits = linear(
            hidden_NE, self.head.weight[:num_tokens], None if bias is None else bias[:num_tokens]
        ).float()
        logits = logits * self.scale if self.scale != 1.0 else logits
        return logits if self.softcap is None else (logits / self.softcap).tanh() * self.softcap


Compare = Callable[[Tensor, Tensor, slice, bool], tuple[Tensor, Tensor | None, Tensor]]
"""From the logits of student and teacher at some places, which places, and whether slopes are wanted:
divergences, their slopes at the student's logits over the temperature, and whether both find the same
likeliest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How the logits of two output layers are compared."""

    compare: Compare
    num_student: int
    """Rows of the student's layer that take part."""
    num_teacher: int
    temperature: float
    num_copies: int = 1
    """Tensors of the logits' size that `compare` makes."""


def divergence(
    student: LoadedModel,
    teacher: LoadedModel,
    student_NE: Tensor,
    teacher_NE: Tensor,
    weights_N: Tensor,
    *,
    beta: float,
    temperature: float,
) -> Divergences:
    """The student's divergence from the teacher; gradients flow to the student if autograd is on."""

    def compare(
        logits: Tensor, wanted: Tensor, rows: slice, with_slopes: bool
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        log_s, log_t = (torch.log_softmax(each / temperature, 1) for each in (logits, wanted))
        return *_divergence_and_slopes(log_s, log_t, beta), logits.argmax(1) == wanted.argmax(1)

    # Rows beyond the common ones are padding that no tokenizer ever names.
    num_tokens = min(len(student.head.weight), len(teacher.head.weight))
    how = Comparison(compare=compare, num_student=num_tokens, num_teacher=num_tokens, temperature=temperature)
    return compared(student, teacher, student_NE, teacher_NE, weights_N, how)


def compared(
    student: LoadedModel,
    teacher: LoadedModel,
    student_NE: Tensor,
    teacher_NE: Tensor,
    weights_N: Tensor,
    how: Comparison,
) -> Divergences:
    """What a comparison finds between both models' logits, tile by tile."""
    ours, theirs = _Layer.of(student), _Layer.of(teacher)
    total, divergences_N, agree_N = _Divergence.apply(  # type: ignore[no-untyped-call]
        student_NE,
        ours.head.weight,
        ours.head.bias,
        teacher_NE.detach(),
        weights_N.to(student_NE.device),
        (ours, theirs, how, torch.is_grad_enabled()),
    )
    return Divergences(total=total, divergences_N=divergences_N, agree_N=agree_N)


class _Divergence(torch.autograd.Function):
    """Both output layers and the divergence, a tile of places at a time; no logits are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NE: Tensor,
        weight_VE: Tensor,
        bias_V: Tensor | None,
        teacher_NF: Tensor,
        weights_N: Tensor,
        how: tuple[_Layer, _Layer, Comparison, bool],
    ) -> tuple[Tensor, Tensor, Tensor]:
        ours, theirs, comparison, with_gradient = how
        num_tokens, temperature = comparison.num_student, comparison.temperature
        width = comparison.num_copies * max(num_tokens, comparison.num_teacher)
        tile = max(1, min(_TILE_ROWS, _TILE_ELEMENTS // width))
        divergences_N = torch.empty(len(hidden_NE), device=hidden_NE.device)
        agree_N = torch.empty(len(hidden_NE), dtype=torch.bool, device=hidden_NE.device)
        wants_hidden, wants_weight = (with_gradient and needed for needed in ctx.needs_input_grad[:2])
        grad_hidden = torch.empty_like(hidden_NE) if wants_hidden else None
        grad_weight = torch.zeros_like(weight_VE, dtype=torch.float32) if wants_weight else None
        grad_bias = torch.zeros_like(bias_V) if bias_V is not None and wants_weight else None
        for begin in range(0, len(hidden_NE), tile):
            rows = slice(begin, begin + tile)
            logits = ours.logits(hidden_NE[rows], num_tokens)
            wanted = theirs.logits(teacher_NF[rows], comparison.num_teacher)
            found = comparison.compare(logits, wanted, rows, with_gradient)
            divergences_N[rows], slopes, agree_N[rows] = found
            if slopes is None or (grad_hidden is None and grad_weight is None):
                continue
            if ours.softcap is not None:
                slopes = slopes * (1 - (logits / ours.softcap).square())
            slopes = slopes * (weights_N[rows, None] * (ours.scale / temperature))
            slopes = slopes.to(hidden_NE.dtype)
            if grad_hidden is not None:
                grad_hidden[rows] = slopes @ weight_VE[:num_tokens]
            if grad_weight is not None:
                grad_weight[:num_tokens] += slopes.t() @ hidden_NE[rows]
            if grad_bias is not None:
                grad_bias[:num_tokens] += slopes.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        ctx.weight_dtype = weight_VE.dtype
        ctx.mark_non_differentiable(divergences_N, agree_N)
        return (divergences_N * weights_N).sum(), divergences_N, agree_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_total: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        return *kept_gradients(ctx, grad_total), None, None, None


def _divergence_and_slopes(log_s: Tensor, log_t: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Of each row, and its slope at the student's scaled logits, from both log-distributions `[N, V]`."""
    shares, wanted = log_s.exp(), log_t.exp()
    if beta == 0.0:
        return (wanted * (log_t - log_s)).sum(1), shares - wanted
    log_m = log_t if beta == 1.0 else torch.logaddexp(log_s + log(1.0 - beta), log_t + log(beta))
    gaps = log_s - log_m
    reverse = (shares * gaps).sum(1)
    slopes = shares * (gaps - reverse[:, None])
    if beta == 1.0:
        return reverse, slopes
    forward = (wanted * (log_t - log_m)).sum(1)
    return beta * forward + (1.0 - beta) * reverse, (1.0 - beta) * slopes
