"""Whether the device that the operator named is there, asked before anything else starts."""

from __future__ import annotations

import os


def require_device() -> None:
    """Refuse a `TAILOR_DEVICE` that is not there: jobs and answers would fail on it one by one.

    Raises:
        InvalidRequest: there is no such device here.
    """
    if os.environ.get("TAILOR_DEVICE", "") not in ("", "auto", "cpu"):
        from tailor.models import choose_device  # brings torch

        choose_device()
