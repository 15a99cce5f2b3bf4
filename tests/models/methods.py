"""Every method with numbers that suit tiny models, and weights that do something."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import torch

from tailor.models import Dora, Lora, Method, PrefixTuning
from tailor.models.methods import Bottleneck, Ia3

TINY_METHODS: dict[str, Method] = {
    "lora": Lora(rank=4, alpha=6.0),
    "rslora": Lora(rank=4, alpha=3.0, rslora=True, targets=("q_proj", "down_proj")),
    "dora": Dora(rank=4, alpha=6.0),
    "ia3": Ia3(),
    "bottleneck": Bottleneck(size=8),
    "prefix": PrefixTuning(num_virtual_tokens=5),
}
WANTED: dict[str, dict[str, Any]] = {
    "lora": {"adapter": "lora", "rank": 4},
    "rslora": {"adapter": "lora", "rank": 4, "alpha": 3.0, "rslora": True},
    "dora": {"adapter": "dora", "rank": 4},
    "ia3": {"adapter": "ia3", "targets": ("down_proj", "k_proj", "v_proj")},
    "bottleneck": {"adapter": "bottleneck", "size": 8},
    "prefix": {"adapter": "prefix", "num_virtual_tokens": 5},
}
"""The same as a recipe says it."""


def shaken(weights: Mapping[str, torch.Tensor], *, seed: int = 1) -> dict[str, torch.Tensor]:
    """Fresh weights plus noise: zeros would hide gradients."""
    found = {}
    for name, weight in weights.items():
        random = torch.Generator().manual_seed(seed + zlib.crc32(name.encode()))
        found[name] = weight.detach().float() + 0.1 * torch.randn(weight.shape, generator=random)
    return found
