"""Weights kept beside those in training: the best so far, or the mean of the last ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_PREFIX = "kept/"


class Kept:
    """A second set of the trained weights; none until there is something to keep."""

    def __init__(self, masters: Mapping[str, Tensor]) -> None:
        self._masters = masters
        self._weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def keep(self) -> None:
        """Keep the weights as they are now, in place of those that were kept."""
        self._weights = {name: master.detach().clone() for name, master in self._masters.items()}

    @torch.no_grad()
    def average(self, count: int) -> None:
        """Make today's weights the `count`-th, counted from 1, whose mean is kept."""
        if count == 1:
            self.keep()
            return
        for name, master in self._masters.items():
            self._weights[name].lerp_(master, 1.0 / count)

    @torch.no_grad()
    def restore(self) -> None:
        """Put what is kept in place of the weights in training, if anything is."""
        for name, weight in self._weights.items():
            self._masters[name].copy_(weight)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint must hold of it."""
        return {f"{_PREFIX}{name}": weight for name, weight in self._weights.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""
        names = {key: key.removeprefix(_PREFIX) for key in state if key.startswith(_PREFIX)}
        self._weights = {
            name: state[key].to(self._masters[name].device, copy=True) for key, name in names.items()
        }
