"""Which weights of a base a run trains, resolved from what was asked and from the version to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from tailor.errors import InvalidRequest
from tailor.models import Quantization, adapter_method, base_quantization, is_adapter, kind_of
from tailor.models.methods import Ia3
from tailor.training.wanted import ADAPTER_NUMBERS, AdapterKind, Wanted, check_adapter

RATE_FACTORS: Mapping[AdapterKind, float] = {
    "full": 1.0,
    "lora": 5.0,
    "dora": 5.0,
    "ia3": 150.0,
    "bottleneck": 5.0,
    "prefix": 500.0,
}
"""How much faster than all weights the few of an adapter may move; measured, see docs/log.md."""

_NUMBERS = sorted({name for names in ADAPTER_NUMBERS.values() for name in names})
_RSLORA_ALPHA = 8.0
"""Twice the update at rank 16, like alpha twice the rank without rsLoRA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Adaptation:
    """What is trained, and on what kind of base."""

    kind: AdapterKind
    numbers: Mapping[str, Any]
    """Of the kind, by the names that recipes have for them."""

    quantization: Quantization | None

    @classmethod
    def auto(cls, wanted: Wanted, parent: Path | None, rank_of_base: int) -> Adaptation:
        """LoRA unless asked otherwise; a version that is trained further keeps what it has.

        Raises:
            InvalidRequest: the adapter asked for is not the one that the parent has, or has no such number.
        """
        asked = {name: value for name in _NUMBERS if (value := getattr(wanted, name)) is not None}
        if parent is not None:
            return _of_parent(parent, wanted, asked)
        kind = wanted.adapter or "lora"
        check_adapter(kind, asked, wanted.quantization)
        numbers = dict(asked)
        if kind in ("lora", "dora"):
            rank = numbers.setdefault("rank", rank_of_base)
            numbers.setdefault("alpha", _RSLORA_ALPHA if numbers.get("rslora") else 2.0 * rank)
        elif kind == "ia3":
            numbers.setdefault("targets", Ia3().targets)
        elif kind == "prefix":
            numbers.setdefault("num_virtual_tokens", 16)
        return cls(kind=kind, numbers=numbers, quantization=wanted.quantization)


def adapter_numbers(recipe: Any) -> dict[str, Any]:
    """The numbers of an adapter as a recipe has them."""
    return {name: getattr(recipe, name) for name in _NUMBERS}


def _of_parent(parent: Path, wanted: Wanted, asked: Mapping[str, Any]) -> Adaptation:
    method = adapter_method(parent) if is_adapter(parent) else None
    has = cast("AdapterKind", kind_of(method) if method is not None else "full")
    if wanted.adapter not in (None, has):
        raise InvalidRequest(
            f"The version to train further was made with adapter type {has!r}.",
            param="tailor.adapter.type",
            remedy=f"Leave the adapter out, ask for {has!r}, or start from the base.",
        )
    check_adapter(has, asked, wanted.quantization)
    if method is None:
        return Adaptation(kind=has, numbers={}, quantization=None)
    numbers = {
        name: value for name, value in asdict(cast(Any, method)).items() if name in ADAPTER_NUMBERS[has]
    }
    for name, value in asked.items():
        if name != "dropout" and value != numbers[name]:
            raise InvalidRequest(
                f"The version to train further has {name} {numbers[name]}.",
                param=f"tailor.adapter.{name}",
                remedy="Leave it out, or start from the base.",
            )
    numbers |= {name: value for name, value in asked.items() if name == "dropout"}
    quantization = wanted.quantization or base_quantization(parent)
    return Adaptation(kind=has, numbers=numbers, quantization=quantization)
