"""Activations forgotten on the way forward and computed again on the way back: more time, much less memory.

Values and gradients are the same to the bit. transformers has a switch of its own, which drops a cache
without a word and works in training mode only.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute_activations(model: nn.Module) -> None:
    """From now on, remember only what goes into each transformer block."""
    for block in model.model.layers:  # type: ignore[union-attr]
        block.forward = partial(_forward, block.forward)


def _forward(forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    # A cache would grow a second time when the block is computed again.
    if not torch.is_grad_enabled() or kwargs.get("past_key_values") is not None:
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)
