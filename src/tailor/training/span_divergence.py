"""How far a student's distribution is from that of a teacher whose tokens are others: an approximation.

Two tokenizers divide the same text into the smallest stretches that begin and end with a token in both
(`alignment`). Where a stretch begins, each side says how likely it finds

    the stretch            p(first token) p(second | first) ..., and its one token for all of it, if any
    another beginning      p(token) of a token that both have, and p of those tokens of one side alone that
                           the other would begin with that one
    to leave the stretch   p(first token) - p(stretch), if the stretch has several tokens
    something else         p(token) of a token of one side alone that begins with nothing common

The stretch and other beginnings are compared one to one, by the divergences of `divergence`. As they are but
a part of all that can be said, KL(t || s) is taken as the sum of t log(t / s) - t + s, which is never below
0, and the same where nothing is left out. What leaves the stretch is compared with what the other side says
of the same beginning, by the difference: its logarithm would have no bounded slope. The rest is compared by
size alone: the sum of the differences between both sides' sorted probabilities (Boizard et al. 2024,
arXiv:2402.12030; matched and sorted parts together: TRL's GOLD).

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

    @property
    def columns_K2(self) -> Tensor:
        """The beginnings that they belong to."""
        return self.vocabulary.columns_V[self.named_K2]

    def log_beginnings_KC(self, log_KV: Tensor) -> Tensor:
        """Log-probability of each token that both have, or of longer ones that begin with it."""
        known = self.vocabulary
        log_KC = log_KV.index_select(1, known.common_C)
        if not len(known.longer_A):
            return log_KC
        columns_A = known.columns_V[known.longer_A]
        longer_KC = torch.zeros_like(log_KC).index_add(
            1, columns_A, log_KV.index_select(1, known.longer_A).exp()
        )
        has_more = longer_KC > 0
        log_longer_KC = torch.where(has_more, longer_KC, 1.0).log()
        return torch.logaddexp(log_KC, torch.where(has_more, log_longer_KC, -torch.inf))

    def left_KD(self, log_KV: Tensor, log_KC: Tensor, columns_KD: Tensor) -> Tensor:
        """Probabilities of some beginnings without the stretch, but with what leaves it."""
        probabilities = pad(log_KC, (0, 1), value=-torch.inf).gather(1, columns_KD).exp()
        for taken_K, column_K in zip(self._taken(log_KV), self.columns_K2.unbind(1), strict=True):
            probabilities = probabilities - torch.where(
                columns_KD == column_K[:, None], taken_K[:, None], 0.0
            )
        return probabilities

    def others_KR(self, log_KV: Tensor) -> Tensor:
        """Probabilities of all that begins with nothing common, in no order."""
        known = self.vocabulary
        apart_KB = log_KV.index_select(1, known.others_B).exp()
        is_apart = torch.ones(len(apart_KB), apart_KB.shape[1] + 1)
        is_apart = is_apart.to(apart_KB).scatter(1, known.places_V[self.named_K2], 0.0)
        is_alone_K = self.columns_K2[:, 0] == len(known.common_C)
        leaving_K = torch.where(is_alone_K, self._first_K(log_KV) * -torch.expm1(self.rest_K), 0.0)
        return torch.cat([apart_KB * is_apart[:, :-1], leaving_K[:, None]], 1)

    def _first_K(self, log_KV: Tensor) -> Tensor:
        return log_KV.gather(1, self.first_K[:, None])[:, 0].exp()

    def _taken(self, log_KV: Tensor) -> tuple[Tensor, Tensor]:
        """What of the first token, and of another one for the whole, counts as the stretch."""
        whole_K = log_KV.gather(1, self.named_K2)[:, 1].exp()
        first_K = self._first_K(log_KV) * self.rest_K.exp()
        return first_K, torch.where(self.named_K2[:, 0] == self.named_K2[:, 1], 0.0, whole_K)


def span_divergence(
    student: Side, teacher: Side, log_s_KV: Tensor, log_t_KU: Tensor, *, beta: float
) -> tuple[Tensor, Tensor]:
    """Of each stretch, and whether both find the same likeliest; from both log-distributions."""
    columns_K4 = torch.cat([student.columns_K2, teacher.columns_K2], 1)
    num_common = len(student.vocabulary.common_C)
    is_left = torch.zeros(len(columns_K4), num_common + 1, dtype=torch.bool, device=log_s_KV.device)
    is_left = is_left.scatter(1, columns_K4, True)[:, :num_common]
    is_new_K4 = _is_first(columns_K4) & (columns_K4 < num_common)

    def parts(side: Side, log_KV: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_KC = side.log_beginnings_KC(log_KV)
        matched = torch.cat([log_KC.masked_fill(is_left, _NOTHING), side.log_stretch_K(log_KV)[:, None]], 1)
        left = torch.where(is_new_K4, side.left_KD(log_KV, log_KC, columns_K4), 0.0)
        return matched, left, side.others_KR(log_KV)

    log_s_KC, left_s_K4, rest_s_KR = parts(student, log_s_KV)
    log_t_KC, left_t_K4, rest_t_KR = parts(teacher, log_t_KU)
    found_K = _matched_divergence(log_s_KC, log_t_KC, beta)
    found_K = found_K + (left_s_K4 - left_t_K4).abs().sum(1) + _sorted_difference(rest_s_KR, rest_t_KR)
    (top_s, place_s), (top_t, place_t) = log_s_KC.max(1), log_t_KC.max(1)
    most_s, most_t = (
        torch.cat([left, rest], 1).amax(1) for left, rest in ((left_s_K4, rest_s_KR), (left_t_K4, rest_t_KR))
    )
    return found_K, (place_s == place_t) & (top_s.exp() >= most_s) & (top_t.exp() >= most_t)


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
