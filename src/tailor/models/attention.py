"""The one attention seam: every model runs on packed tokens `[1, T, hidden]`, attention decides who sees whom.

`transformers` models call the function registered here for each layer; what it does is decided by the
`layout` that the caller passes through the model's keyword arguments. Training packs whole examples
(`PackedLayout`); serving writes to and reads from a cache (`tailor.inference`). Linear layers never
see padding.

Shapes: H query heads, K key/value heads, T packed tokens, D head size.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from transformers import AttentionInterface

ATTENTION_NAME = "tailor"


class Layout(Protocol):
    """Who sees whom, and where keys and values live."""

    def attend(
        self,
        layer_index: int,
        query_HTD: Tensor,
        key_KTD: Tensor,
        value_KTD: Tensor,
        *,
        scaling: float,
        sliding_window: int | None,
        softcap: float | None,
    ) -> Tensor:
        """Attention output `[T, H, D]` of the packed tokens in one layer."""
        ...


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Called by transformers once a layer; `[1, H, T, D]` in, `[1, T, H, D]` out."""
    output = layout.attend(
        int(module.layer_idx),  # type: ignore[arg-type]
        query[0],
        key[0],
        value[0],
        scaling=scaling if scaling is not None else query.shape[-1] ** -0.5,
        sliding_window=sliding_window,
        softcap=softcap,
    )
    return output.unsqueeze(0), None


AttentionInterface.register(ATTENTION_NAME, _attention)
