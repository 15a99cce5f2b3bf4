"""How far a student's distribution is from that of a teacher whose tokens are others: an approximation.

Two tokenizers divide the same text into the smallest stretches that begin and end with a token in both
(`alignment`). Where a stretch begins, each side says how likely it finds

    the stretch            p(first token) p(second | first) ..., and its one token for all of it, if any
    another token          p(token)
    to leave the stretch   p(first token) - p(stretch), if the stretch has several tokens

The stretch, and tokens that both vocabularies have, are compared one to one, by the divergences of
`divergence`. As they are but a part of all that can be said, KL(t || s) is taken as the sum of
t log(t / s) - t + s, which is never below 0, and the same where nothing is left out. The rest, with what
leaves the stretch, is compared by size alone: the sum of differences between both sides' sorted
probabilities (Boizard et al. 2024, arXiv:2402.12030; matched and sorted parts together: TRL's GOLD).

The probabilities of a stretch's further tokens are measured beforehand, and so are gradients by them:
only the rows where stretches begin go through both output layers together.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad

from tailor.training.lexicon import Vocabulary

NUM_COPIES: Final = 8
"""Tensors of the logits' size that are alive together."""

_NOTHING: Final = -1e4
"""The logarithm of no probability at all."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Side:
    """What one model says where K stretches begin."""

    vocabulary: Vocabulary
    first_K: Tensor
    """The first token of each stretch."""
    rest_K: Tensor
    """Log-probability of its further tokens; 0 if there are none."""
    whole_K: Tensor
    """The one token for all of it; -1 if there is none."""

    def part(self, rows: slice) -> Side:
        """Some of the stretches."""
        return Side(
            vocabulary=self.vocabulary,
            first_K=self.first_K[rows],
            rest_K=self.rest_K[rows],
            whole_K=self.whole_K[rows],
        )

    @property
    def named_K2(self) -> Tensor:
        """The tokens that count as the stretch or its beginning; the first again where there is no other."""
        whole_K = torch.where(self.whole_K < 0, self.first_K, self.whole_K)
        return torch.stack([self.first_K, whole_K], 1)

    def log_stretch_K(self, log_KV: Tensor) -> Tensor:
        """Log-probability of each stretch, however it is said."""
        first_K, whole_K = log_KV.gather(1, self.named_K2).unbind(1)
        is_other = (self.whole_K >= 0) & (self.whole_K != self.first_K)
        alone_K = torch.where(is_other, whole_K, -torch.inf)
        return torch.logaddexp(first_K + self.rest_K, alone_K)

    def others_KR(self, log_KV: Tensor, columns_KD: Tensor, is_new_KD: Tensor) -> Tensor:
        """Probabilities of all that is not compared one to one, in no order.

        That are tokens that the other side has not, tokens of common columns that are left out, and leaving
        the stretch.
        """
        known = self.vocabulary
        first_K = log_KV.gather(1, self.first_K[:, None]).exp()[:, 0]
        leaving_K = first_K * -torch.expm1(self.rest_K)
        apart_KA = log_KV.index_select(1, known.others_A).exp()
        is_apart = torch.ones(len(apart_KA), apart_KA.shape[1] + 1)
        is_apart = is_apart.to(apart_KA).scatter(1, known.places_V[self.named_K2], 0.0)
        ids_KD = pad(known.common_C, (0, 1))[columns_KD]
        is_named_KD = (ids_KD[:, :, None] == self.named_K2[:, None]).any(2)
        left_KD = torch.where(is_new_KD & ~is_named_KD, log_KV.gather(1, ids_KD).exp(), 0.0)
        return torch.cat([apart_KA * is_apart[:, :-1], left_KD, leaving_K[:, None]], 1)


def span_divergence(
    student: Side, teacher: Side, log_s_KV: Tensor, log_t_KU: Tensor, *, beta: float
) -> tuple[Tensor, Tensor]:
    """Of each stretch, and whether both find the same likeliest; from both log-distributions."""
    columns_K4 = torch.cat(
        [
            student.vocabulary.columns_V[student.named_K2],
            teacher.vocabulary.columns_V[teacher.named_K2],
        ],
        1,
    )
    num_common = len(student.vocabulary.common_C)
    is_gone = torch.zeros(len(columns_K4), num_common + 1, dtype=torch.bool, device=log_s_KV.device)
    is_gone = is_gone.scatter(1, columns_K4, True)[:, :num_common]

    def matched(side: Side, log_KV: Tensor) -> Tensor:
        common = log_KV.index_select(1, side.vocabulary.common_C).masked_fill(is_gone, _NOTHING)
        return torch.cat([common, side.log_stretch_K(log_KV)[:, None]], 1)

    log_s_KC, log_t_KC = matched(student, log_s_KV), matched(teacher, log_t_KU)
    is_new = _is_first(columns_K4) & (columns_K4 < num_common)
    rest_s_KR = student.others_KR(log_s_KV, columns_K4, is_new)
    rest_t_KR = teacher.others_KR(log_t_KU, columns_K4, is_new)
    found_K = _matched_divergence(log_s_KC, log_t_KC, beta) + _sorted_difference(rest_s_KR, rest_t_KR)
    top_s, place_s = log_s_KC.max(1)
    top_t, place_t = log_t_KC.max(1)
    is_common = (top_s.exp() >= rest_s_KR.amax(1)) & (top_t.exp() >= rest_t_KR.amax(1))
    return found_K, (place_s == place_t) & is_common


def divergence_with_slopes(
    student: Side, teacher: Side, logits_KV: Tensor, wanted_KU: Tensor, *, beta: float, with_slopes: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Of each stretch, agreement, and the slopes at the student's logits and at its `rest_K`."""
    with torch.set_grad_enabled(with_slopes):
        logits_KV = logits_KV.detach().requires_grad_(with_slopes)
        rest_K = student.rest_K.detach().requires_grad_(with_slopes)
        asked = Side(
            vocabulary=student.vocabulary,
            first_K=student.first_K,
            rest_K=rest_K,
            whole_K=student.whole_K,
        )
        log_s_KV, log_t_KU = torch.log_softmax(logits_KV, 1), torch.log_softmax(wanted_KU, 1)
        found_K, agree_K = span_divergence(asked, teacher, log_s_KV, log_t_KU, beta=beta)
        slopes = torch.autograd.grad(found_K.sum(), [logits_KV, rest_K]) if with_slopes else (None, None)
    return found_K.detach(), agree_K, *slopes


def _matched_divergence(log_s: Tensor, log_t: Tensor, beta: float) -> Tensor:
    """Of each row, between parts of two distributions."""
    shares, wanted = log_s.exp(), log_t.exp()
    if beta == 0.0:
        return (wanted * (log_t - log_s) - wanted + shares).sum(1)
    if beta == 1.0:
        return (shares * (log_s - log_t) - shares + wanted).sum(1)
    log_m = torch.logaddexp(log_s + log(1.0 - beta), log_t + log(beta))
    return (beta * wanted * (log_t - log_m) + (1.0 - beta) * shares * (log_s - log_m)).sum(1)


def _sorted_difference(one_KR: Tensor, other_KS: Tensor) -> Tensor:
    """Sum of the differences between the largest of both, the second largest, and so on."""
    width = max(one_KR.shape[1], other_KS.shape[1])
    one, other = (
        pad(each, (0, width - each.shape[1])).sort(dim=1, descending=True, stable=True).values
        for each in (one_KR, other_KS)
    )
    return (one - other).abs().sum(1)


def _is_first(columns_KD: Tensor) -> Tensor:
    """Whether a column has not been named before in its row."""
    same: Tensor = columns_KD[:, :, None] == columns_KD[:, None, :]
    return ~same.tril(-1).any(2)
