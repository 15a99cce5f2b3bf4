"""Choosing the next token of every row at once.

The random number of a token depends on its seed, answer and position alone, and is spent on one walk along
the vocabulary, so neither neighbours in the batch nor a restart change what is drawn. Log-probabilities are
the model's own: before bias, penalties, temperature and top_p.

Shapes: R rows, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from tailor.inference.engine import SamplingParameters

_NUM_LIKELIEST = 128  # top_p rarely needs more; rows that do are sorted whole
_STRIDE = 256  # tokens summed by one product


@dataclass(kw_only=True, slots=True)
class Draw:
    """What one row needs to be sampled."""

    parameters: SamplingParameters
    seed: int
    choice: int = 0
    index: int = 0
    """Tokens this answer has already."""

    counts: Mapping[int, int] = field(default_factory=dict)
    """How often each token has been written; kept only if there is a penalty."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """A chosen token; `is_finite` is False when the model's output was not numbers and means nothing."""

    token_id: int
    is_finite: bool
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


def sample(logits_RV: Tensor, draws: Sequence[Draw]) -> list[Sampled]:
    """Choose a token for each row; changes `logits_RV` if it is float32."""
    logits_RV = logits_RV.float()
    raw_RV = logits_RV.clone() if any(draw.parameters.top_logprobs is not None for draw in draws) else None
    _adjust(logits_RV, draws)
    best_R, chosen_R = logits_RV.max(-1)
    warm = [row for row, draw in enumerate(draws) if draw.parameters.temperature > 0]
    if warm:
        rows_W = torch.tensor(warm, device=logits_RV.device)
        drawn_W = _draw(logits_RV[rows_W], best_R[rows_W], [draws[row] for row in warm])
        chosen_R = chosen_R.index_copy(0, rows_W, drawn_W)
    # One transfer for both: float64 holds every token id exactly.
    chosen, best = torch.stack((chosen_R.double(), best_R.double())).tolist()
    sampled = [
        Sampled(int(token_id), math.isfinite(value)) for token_id, value in zip(chosen, best, strict=True)
    ]
    return sampled if raw_RV is None else _with_logprobs(sampled, raw_RV, chosen_R, draws)


def uniform(seed: int, choice: int, index: int) -> float:
    """The random number in [0, 1) that decides the token at `index` of an answer."""
    digest = hashlib.blake2b(f"{seed}:{choice}:{index}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) * 2.0**-53


def _adjust(logits_RV: Tensor, draws: Sequence[Draw]) -> None:
    """Add each row's bias and take its penalties off, in place."""
    rows: list[int] = []
    tokens: list[int] = []
    values: list[float] = []
    for row, draw in enumerate(draws):
        asked = draw.parameters
        changes = [(token, float(bias)) for token, bias in asked.logit_bias.items()]
        changes += [
            (token, -asked.presence_penalty - count * asked.frequency_penalty)
            for token, count in draw.counts.items()
        ]
        rows += [row] * len(changes)
        tokens += [token for token, _ in changes]
        values += [value for _, value in changes]
    if rows:
        device = logits_RV.device
        where = (torch.tensor(rows, device=device), torch.tensor(tokens, device=device))
        logits_RV.index_put_(where, torch.tensor(values, device=device), accumulate=True)


def _draw(logits_RV: Tensor, best_R: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Draw from the tempered distributions cut at top_p, by inverting their running sums."""
    device = logits_RV.device
    temperature_R = torch.tensor([draw.parameters.temperature for draw in draws], device=device)
    weight_RV = ((logits_RV - best_R[:, None]) / temperature_R[:, None]).exp_()
    cut = [row for row, draw in enumerate(draws) if draw.parameters.top_p < 1]
    if cut:
        rows_C = torch.tensor(cut, device=device)
        top_p_C = torch.tensor([draws[row].parameters.top_p for row in cut], device=device)
        weight_CV = weight_RV[rows_C]
        least_C = _least_weight(weight_CV, top_p_C * weight_CV.sum(-1))
        weight_RV[rows_C] = weight_CV.masked_fill_(weight_CV < least_C[:, None], 0.0)
    sums_RV = _running_sums(weight_RV, torch.float64)
    numbers = [uniform(draw.seed, draw.choice, draw.index) for draw in draws]
    target_R = torch.tensor(numbers, dtype=torch.float64, device=device) * sums_RV[:, -1]
    return torch.searchsorted(sums_RV, target_R[:, None], right=True)[:, 0].clamp_(max=logits_RV.shape[1] - 1)


def _running_sums(weight_RV: Tensor, dtype: torch.dtype) -> Tensor:
    """Sums along each row; on a card, whose own differ from run to run, by products, which do not."""
    if weight_RV.device.type == "cpu":
        return weight_RV.cumsum(-1, dtype=dtype)
    num_rows, width = weight_RV.shape
    padded_RBS = F.pad(weight_RV.to(dtype), (0, -width % _STRIDE)).view(num_rows, -1, _STRIDE)
    within_RBS = padded_RBS @ _ones_above(_STRIDE, padded_RBS)
    total_RB = within_RBS[:, :, -1]
    before_RB = total_RB @ _ones_above(total_RB.shape[1], total_RB) - total_RB
    return (within_RBS + before_RB[:, :, None]).view(num_rows, -1)[:, :width]


def _ones_above(size: int, like: Tensor) -> Tensor:
    """The matrix that sums up: `x @ it` are the running sums of x."""
    return torch.ones(size, size, dtype=like.dtype, device=like.device).triu_()


def _least_weight(weight_RV: Tensor, mass_R: Tensor) -> Tensor:
    """The smallest weight among the likeliest tokens that together reach `mass_R`."""
    likeliest_RV = weight_RV.topk(min(_NUM_LIKELIEST, weight_RV.shape[1])).values
    sums_RV = _running_sums(likeliest_RV, likeliest_RV.dtype)
    if bool((sums_RV[:, -1] < mass_R).any()):
        likeliest_RV = weight_RV.sort(-1, descending=True).values
        sums_RV = _running_sums(likeliest_RV, likeliest_RV.dtype)
    last_R = (sums_RV < mass_R[:, None]).sum(-1).clamp_(max=likeliest_RV.shape[1] - 1)
    return likeliest_RV.gather(1, last_R[:, None])[:, 0]


def _with_logprobs(
    sampled: list[Sampled], raw_RV: Tensor, chosen_R: Tensor, draws: Sequence[Draw]
) -> list[Sampled]:
    wanted = [row for row, draw in enumerate(draws) if draw.parameters.top_logprobs is not None]
    rows_W = torch.tensor(wanted, device=raw_RV.device)
    logprob_WV = raw_RV[rows_W].log_softmax(-1)
    own = logprob_WV.gather(1, chosen_R[rows_W][:, None])[:, 0].tolist()
    most = max(draws[row].parameters.top_logprobs or 0 for row in wanted)
    values, tokens = (part.tolist() for part in logprob_WV.topk(most))
    for at, row in enumerate(wanted):
        count = draws[row].parameters.top_logprobs or 0
        top = tuple(zip(tokens[at][:count], values[at][:count], strict=True))
        sampled[row] = Sampled(sampled[row].token_id, sampled[row].is_finite, own[at], top)
    return sampled
