"""What this machine offers to tailor, found out without loading anything heavy."""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from tailor.cli.figures import count, size
from tailor.errors import TailorError

_GIB = 1 << 30
_ENOUGH_DISK_BYTES = 5 * _GIB
_ENOUGH_MEMORY_BYTES = 2 * _GIB
_TRAINING = ("torch", "transformers", "safetensors", "jinja2")
_SERVING = ("fastapi", "uvicorn", "python-multipart", "sqlalchemy", "alembic")


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing looked at."""

    name: str
    state: Literal["ok", "advice", "missing"]
    """Missing: tailor cannot do all of its work here. Advice: it can, but worse."""
    detail: str
    remedy: str | None = None


def examine(home: Path) -> list[Finding]:
    """Everything, in the order in which a person would ask."""
    return [
        _python(),
        _packages("training packages", _TRAINING, "train"),
        _packages("server packages", _SERVING, "server"),
        _processor(),
        _device(),
        _memory(),
        _database(),
        _home(home),
        _disk(home),
        _server(home),
        _python_graders(),
        _upstreams(home),
        _tool(
            "chromium",
            ("chromium", "chromium-browser", "google-chrome"),
            "Only the console's own tests need it.",
        ),
    ]


def _python_graders() -> Finding:
    """Whether code that strangers bring can be shut in here, by trying."""
    from tailor.sandbox import SandboxMissing, find_sandbox

    try:
        walls = find_sandbox().walls
    except SandboxMissing as missing:
        return Finding(name="python graders", state="advice", detail=missing.message, remedy=missing.remedy)
    return Finding(name="python graders", state="ok", detail=f"shut in by {walls}")


def _upstreams(home: Path) -> Finding:
    """The endpoints that the operator's file names, and whether their keys are there; asks none of them."""
    name = "upstreams"
    try:
        from tailor.inference.upstreams import read_upstreams, upstreams_file
    except ImportError:
        return Finding(name=name, state="advice", detail="unknown without the packages for serving")
    try:
        found = read_upstreams(upstreams_file(home))
    except TailorError as error:
        return Finding(name=name, state="missing", detail=error.message, remedy=error.remedy)
    if not found:
        return Finding(name=name, state="ok", detail="none; docs/upstreams.md says how to name some")
    listed = "; ".join(f"{one.name}: {count(len(one.models), 'model')}" for one in found)
    keyless = [f"{one.key_env} for {one.name}" for one in found if one.needs_key]
    if keyless:
        remedy = f"Set in the server's environment: {', '.join(keyless)}."
        return Finding(name=name, state="advice", detail=f"{listed}; a key is missing", remedy=remedy)
    return Finding(name=name, state="ok", detail=listed)


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding(name="python", state="ok", detail=found)


def _packages(name: str, packages: tuple[str, ...], extra: str) -> Finding:
    found, absent = [], []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            absent.append(package)
    if not absent:
        return Finding(name=name, state="ok", detail=", ".join(found))
    return Finding(
        name=name,
        state="missing",
        detail=f"not installed: {', '.join(absent)}",
        remedy=f'pip install "tailor[{extra}]". Commands against another server work without it.',
    )


def _processor() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    flags = _cpu_flags()
    wide = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16") if name in flags]
    threads = os.environ.get("OMP_NUM_THREADS")
    used = f"OMP_NUM_THREADS={threads}" if threads else f"torch will use {count(cores, 'thread')}"
    bf16 = "bf16 in hardware" if {"avx512_bf16", "amx_bf16", "bf16"} & set(wide) else "no bf16 in hardware"
    detail = f"{count(cores, 'core')}, {used}; {bf16}{' (' + ', '.join(wide) + ')' if wide else ''}"
    return Finding(name="processor", state="ok", detail=detail)


def _cpu_flags() -> frozenset[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    line = next((line for line in text.split("\n") if line.startswith(("flags", "Features"))), "")
    return frozenset(line.partition(":")[2].split())


def _device(driver: Path = Path("/proc/driver/nvidia/version")) -> Finding:
    """Where models train and answer, as far as can be told without torch."""
    name, asked = "device", os.environ.get("TAILOR_DEVICE") or "auto"
    has_driver = driver.exists() or shutil.which("nvidia-smi") is not None
    cuda = _cuda_of_torch()
    if asked == "cpu":
        return Finding(name=name, state="ok", detail="the processor: TAILOR_DEVICE=cpu")
    if not re.fullmatch(r"auto|cuda(:\d+)?", asked):
        remedy = "Use auto, cpu, cuda or cuda:N."
        return Finding(
            name=name, state="missing", detail=f"TAILOR_DEVICE={asked} is no device", remedy=remedy
        )
    if has_driver and cuda:
        used = "the first card" if asked == "auto" else asked
        return Finding(name=name, state="ok", detail=f"{used}, with CUDA {cuda}; TAILOR_DEVICE={asked}")
    why = "no NVIDIA driver" if not has_driver else "an NVIDIA driver, but torch is built without CUDA"
    if asked != "auto":
        remedy = "Install torch with CUDA and the driver, or set TAILOR_DEVICE=cpu."
        return Finding(name=name, state="missing", detail=f"TAILOR_DEVICE={asked}, and {why}", remedy=remedy)
    detail = f"the processor: {why}"
    if has_driver:
        remedy = "Install a build of torch with CUDA, and the card is used by itself."
        return Finding(name=name, state="advice", detail=detail, remedy=remedy)
    return Finding(name=name, state="ok", detail=detail)


def _cuda_of_torch() -> str | None:
    """The CUDA that torch was built for, read from its files; None without either."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return None
    try:
        text = Path(found.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"^cuda.*= *['\"](.+)['\"]", text, re.MULTILINE)
    return match.group(1) if match else None


def _memory() -> Finding:
    total, available = _memory_bytes()
    if total is None or available is None:
        return Finding(name="memory", state="advice", detail="unknown on this system")
    detail = f"{size(total)}, {size(available)} free"
    if available < _ENOUGH_MEMORY_BYTES:
        return Finding(name="memory", state="advice", detail=detail, remedy="Training wants 2 GiB or more.")
    return Finding(name="memory", state="ok", detail=detail)


def _memory_bytes() -> tuple[int | None, int | None]:
    """All memory and what is free, the container's limit respected."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").split("\n")
    except OSError:
        return None, None
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines if line}
    total, available = kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return total, available
    return min(total, limit), min(available, max(0, limit - used))


def _tool(name: str, commands: tuple[str, ...], why: str) -> Finding:
    path = next((found for command in commands if (found := shutil.which(command))), None)
    if path is None:
        return Finding(name=name, state="advice", detail="not installed", remedy=why)
    return Finding(name=name, state="ok", detail=path)


def _disk(home: Path) -> Finding:
    place = next(parent for parent in (home.absolute(), *home.absolute().parents) if parent.exists())
    usage = shutil.disk_usage(place)
    detail = f"{size(usage.free)} free of {size(usage.total)}"
    if usage.free < _ENOUGH_DISK_BYTES:
        remedy = "Below 1 GiB the server takes nothing new; free some space."
        return Finding(name="disk", state="advice", detail=detail, remedy=remedy)
    return Finding(name="disk", state="ok", detail=detail)


def _database() -> Finding:
    import sqlite3

    found = f"SQLite {sqlite3.sqlite_version}"
    try:
        from tailor.store import wal_is_safe
    except ImportError:
        return Finding(name="database", state="missing", detail=found, remedy='pip install "tailor[server]".')
    if wal_is_safe(sqlite3.sqlite_version_info):
        return Finding(name="database", state="ok", detail=f"{found}, write-ahead log")
    return Finding(
        name="database",
        state="ok",
        detail=f"{found}, rollback journal: this release's write-ahead log has a bug that can corrupt data",
    )


def _home(home: Path) -> Finding:
    if not home.exists():
        return Finding(name="home", state="ok", detail=f"{home} (not made yet)")
    if not os.access(home, os.W_OK):
        return Finding(
            name="home",
            state="missing",
            detail=f"{home} cannot be written",
            remedy="Choose another with --home.",
        )
    return Finding(name="home", state="ok", detail=str(home))


def _server(home: Path) -> Finding:
    name = "running server"
    if not home.exists():
        return Finding(name=name, state="ok", detail="none on this home; commands start their own")
    try:
        from tailor.store import read_server
    except ImportError:
        return Finding(name=name, state="advice", detail="unknown without the server packages")
    url = read_server(home)
    return Finding(name=name, state="ok", detail=url or "none on this home; commands start their own")
