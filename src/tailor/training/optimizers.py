"""Optimisers of a recipe: AdamW, or Muon for the hidden matrices with AdamW for the rest."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from tailor.training.recipe import Recipe


def make_optimizers(
    masters: Mapping[str, Tensor], recipe: Recipe, *, tables: frozenset[str]
) -> tuple[Optimizer, ...]:
    """Optimisers over the trained weights; each weight belongs to one of them.

    Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) takes every matrix but the token
    `tables`. Its steps are scaled to AdamW's typical size (Liu et al. 2025, arXiv:2502.16982), so one
    learning rate serves both. Weight decay spares vectors (norms, biases), which have nothing to shrink.
    """
    matrices = {name: master for name, master in masters.items() if master.ndim == 2}
    hidden = {name: m for name, m in matrices.items() if recipe.optimizer == "muon" and name not in tables}
    others = {name: master for name, master in masters.items() if name not in hidden}
    decayed = [master for name, master in others.items() if name in matrices]
    spared = [master for name, master in others.items() if name not in matrices]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    is_on_card = any(master.device.type == "cuda" for master in masters.values())
    optimizers: list[Optimizer] = [
        torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=recipe.learning_rate,
            betas=(recipe.beta1, recipe.beta2),
            foreach=None if is_on_card else True,
            fused=is_on_card or None,
        )
    ]
    if hidden:
        muon = torch.optim.Muon(
            hidden.values(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        optimizers.append(muon)
    return tuple(optimizers)
