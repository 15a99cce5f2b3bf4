"""Where models live: the one choice between the processor and a card, and what a card has.

The choice is the operator's: `TAILOR_DEVICE`, or an option that sets it. Everything else follows the model
that was loaded.
"""

from __future__ import annotations

import os
import re
from typing import Final

import torch
from torch import Tensor

from tailor.errors import InvalidRequest

VARIABLE: Final = "TAILOR_DEVICE"
"""`auto` (a card if there is one), `cpu`, `cuda` or `cuda:N`."""

_KNOWN = re.compile(r"auto|cpu|cuda(:\d+)?")


def choose_device(asked: torch.device | str | None = None) -> torch.device:
    """The device asked for, else the one that `TAILOR_DEVICE` names, else a card if there is one.

    Raises:
        InvalidRequest: there is no such device here.
    """
    if isinstance(asked, torch.device):
        return asked
    name = asked or os.environ.get(VARIABLE) or "auto"
    if not _KNOWN.fullmatch(name):
        raise _refused(f"There is no device {name[:40]!r}.", "Use auto, cpu, cuda or cuda:N.")
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        why = "this build of torch has no CUDA" if torch.version.cuda is None else "no card is to be seen"
        raise _refused(
            f"The device {name!r} cannot be used: {why}.",
            "Install torch with CUDA and the driver, or set TAILOR_DEVICE=cpu.",
        )
    index = int(name.partition(":")[2] or 0)
    if index >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise _refused(f"There is no device {name!r} here.", f"The last one is cuda:{last}.")
    return torch.device("cuda", index)


def native_dtype(device: torch.device | str | None = None) -> str:
    """`bfloat16` where the chosen device multiplies it in hardware, else `float32`."""
    if choose_device(device).type == "cuda":
        # By emulation a card does it too, slower than float32.
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    has_bf16 = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if has_bf16 else "float32"


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device; to a card in its own time, so that the next work is made ready meanwhile."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def release_cached(device: torch.device) -> None:
    """Give memory back that the allocator of a card keeps: what failed for want of it may fit then."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_device_bytes(device: torch.device | str | None = None) -> int | None:
    """What is free on the chosen card; None on the processor, whose memory belongs to the whole machine."""
    chosen = choose_device(device)
    return torch.cuda.mem_get_info(chosen)[0] if chosen.type == "cuda" else None


def total_device_bytes(device: torch.device | str | None = None) -> int | None:
    """All memory of the chosen card; None on the processor."""
    chosen = choose_device(device)
    return torch.cuda.mem_get_info(chosen)[1] if chosen.type == "cuda" else None


def peak_device_bytes(device: torch.device | str | None = None) -> int | None:
    """The most memory that this process has had of the chosen card; None on the processor."""
    chosen = choose_device(device)
    return torch.cuda.max_memory_reserved(chosen) if chosen.type == "cuda" else None


def _refused(message: str, remedy: str) -> InvalidRequest:
    return InvalidRequest(message, param="device", code="device_not_available", remedy=remedy)
