"""At the start of every job: packed computation against the plain one, on the user's own examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from tailor.models import ATTENTION_NAME, LoadedModel
from tailor.training.batches import TokenizedExample, pack
from tailor.training.output import supervised_losses

_log = logging.getLogger(__name__)

PLAIN_ATTENTION = "eager"

_TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.05}
"""Largest mean difference of token log-probabilities, in nats, that rounding explains."""


def packing_difference(loaded: LoadedModel, examples: Sequence[TokenizedExample]) -> float:
    """Mean absolute difference of target log-probabilities, packed against example by example."""
    with torch.inference_mode():
        packed = supervised_losses(loaded, pack(examples)).losses_N
        loaded.model.set_attn_implementation(PLAIN_ATTENTION)
        try:
            plain = supervised_losses(loaded, pack(examples, share=False)).losses_N
        finally:
            loaded.model.set_attn_implementation(ATTENTION_NAME)
    return float((packed - plain).abs().mean())


def packing_is_exact(loaded: LoadedModel, examples: Sequence[TokenizedExample]) -> bool:
    """Whether packing changes nothing beyond rounding; not a number counts as no.

    So does a kernel of a card that cannot be compiled there: the plain path needs none.
    """
    try:
        return packing_difference(loaded, examples) <= _TOLERANCES[loaded.dtype]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:
        if loaded.model.device.type == "cpu":
            raise
        _log.exception("attention for packed examples does not run on %s", loaded.model.device)
        return False


def switch_to_plain(loaded: LoadedModel) -> None:
    """Compute example by example with transformers' own attention from now on."""
    loaded.model.set_attn_implementation(PLAIN_ATTENTION)
