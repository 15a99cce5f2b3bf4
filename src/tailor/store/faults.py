"""Named points at which a test can have the process killed, as a power cut or the kernel would."""

from __future__ import annotations

import os
import signal

VARIABLE = "TAILOR_FAULT"


def reach(name: str) -> None:
    """Die by SIGKILL if `TAILOR_FAULT` is `name`, or `name:n` and this is the n-th passing (tests only)."""
    point, count = _parse(os.environ.get(VARIABLE, ""))
    if point != name:
        return
    if count <= 1:
        os.kill(os.getpid(), signal.SIGKILL)
    # The count lives in the variable itself, so this module keeps no state.
    os.environ[VARIABLE] = f"{name}:{count - 1}"


def _parse(wanted: str) -> tuple[str, int]:
    # A point's own name may hold a colon: `mid_write:adapter_model.safetensors`.
    point, _, count = wanted.rpartition(":")
    return (point, int(count)) if count.isdigit() else (wanted, 1)


def no_fault(name: str) -> None:
    """Pass every point unharmed."""
