"""How much a piece of untrusted code may use."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """Per item, as OpenAI's python graders have them (contract 1.5); the disk is ours."""

    seconds: float = 120.0
    """Longest time for one item, on the clock and on the processor."""

    memory_bytes: int = 2048 * MIB
    """Most address space."""

    disk_bytes: int = 64 * MIB
    """Most in the private `/tmp`, which is memory too; every item finds it empty."""

    threads: int = 64
    """Most threads; other processes cannot be started at all."""

    source_bytes: int = 256 * 1024
    """Longest source."""

    answer_bytes: int = 64 * 1024
    """Longest answer, error message included."""
