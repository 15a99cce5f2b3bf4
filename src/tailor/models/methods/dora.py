"""DoRA (Liu et al. 2024, arXiv:2402.09353): LoRA moves a weight's direction, a vector its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tailor.models.methods.lora import Lora, LoraLinear
from tailor.models.quantized import QuantizedLinear


@dataclass(frozen=True, kw_only=True, slots=True)
class Dora(Lora):
    """Each output is magnitude / |W + update| times what LoRA computes, the bias apart."""

    is_dora: ClassVar[bool] = True

    def layer(self, name: str, base_layer: nn.Linear | QuantizedLinear) -> DoraLinear:
        """Starts with the base's own lengths: nothing changes yet."""
        return DoraLinear(base_layer, self.rank, self.scaling, self.dropout)


class DoraLinear(LoraLinear):
    """A frozen linear layer with a low-rank update and trainable row lengths."""

    def __init__(
        self, base_layer: nn.Linear | QuantizedLinear, rank: int, scaling: float, dropout: float
    ) -> None:
        super().__init__(base_layer, rank, scaling, dropout)
        weight = base_layer.weight.detach().float()
        self._squares_O = weight.square().sum(1)
        self._gain_O: Tensor | None = None
        self.lora_magnitude_vector = nn.Parameter(self._squares_O.sqrt().to(**self.place()))

    def forward(self, x: Tensor) -> Tensor:
        """`gain (x W^T + scaling (dropout(x) A^T) B^T) + bias`."""
        return self.changed(x, self.base_layer(x))

    def changed(self, x: Tensor, output: Tensor) -> Tensor:
        """The frozen layer's output, moved and lengthened."""
        gain, bias = self.gain(), self.base_layer.bias
        if bias is None:
            return gain * (output + self.update(x))
        return gain * (output - bias + self.update(x)) + bias

    def gain(self) -> Tensor:
        """`[O]`: trained length of each row over the length it has; no gradient through the latter (4.3)."""
        if self._gain_O is not None:
            return self._gain_O
        gain = self.lora_magnitude_vector / self._lengths().to(self.lora_magnitude_vector.dtype)
        if not self.lora_magnitude_vector.requires_grad:
            self._gain_O = gain  # the weights are final
        return gain

    @torch.no_grad()
    def _lengths(self) -> Tensor:
        """`[O]` float32, |W + scaling B A| by rows, without making the sum.

        |W_o + s B_o A|^2 = |W_o|^2 + 2 s B_o (A W_o) + s^2 B_o (A A^T) B_o^T.
        """
        down, up = self.lora_A.weight, self.lora_B.weight.float()
        crossed_OR = (self.base_layer.weight @ down.t()).float()
        inner_RR = down.float() @ down.float().t()
        squares = self._squares_O + (up * (2 * self.scaling * crossed_OR)).sum(1)
        squares += ((up @ inner_RR) * up).sum(1) * self.scaling**2
        lengths: Tensor = squares.clamp_(min=torch.finfo(torch.float32).tiny).sqrt_()
        return lengths

    def merged(self) -> tuple[Tensor, Tensor | None]:
        """`gain (W + scaling B A)`."""
        moved = self.base_layer.weight.float() + self.delta()
        gain = self.lora_magnitude_vector.float() / torch.linalg.vector_norm(moved, dim=1)
        return gain[:, None] * moved, self.base_layer.bias
