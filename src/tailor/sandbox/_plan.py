"""What the inside is told when it starts: which walls, which files, which limits, which code."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from tailor.sandbox.limits import Limits

Walls = Literal["namespaces", "landlock"]

_LIBRARIES: Final = """
numpy scipy sympy mpmath pandas dateutil python_dateutil pytz tzdata six rapidfuzz sklearn scikit_learn joblib
threadpoolctl narwhals rouge_score deepdiff orderly_set ordered_set jsonschema jsonschema_specifications
referencing rpds rpds_py attr attrs pydantic pydantic_core annotated_types typing_extensions typing_inspection
yaml pyyaml _yaml nltk regex click tqdm sqlparse rdkit skbio scikit_bio ast_grep_py sacrebleu portalocker
tabulate colorama absl absl_py
"""
LIBRARIES: Final = frozenset(_LIBRARIES.split())
"""What graders may import beside the standard library, as far as it is installed: OpenAI's list with what
those packages need themselves. Import names and, where they differ, names of distributions."""

_SYSTEM: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache")
_PACKAGES: Final = ("site-packages", "dist-packages")
_SYSTEM_PACKAGES: Final = ("/usr/lib/python3/dist-packages",)
DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/urandom")


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Everything the inside needs; plain JSON on the way there."""

    walls: Walls
    source: str
    limits: Limits
    read: tuple[str, ...]
    """Files and folders that may be read."""
    listed: tuple[str, ...]
    """Folders whose names may be read although not all of their files may."""
    hidden: tuple[str, ...]
    """Folders below `read` that must be covered up."""
    site: str
    """Where the libraries are, for `sys.path`."""

    @classmethod
    def parse(cls, value: dict[str, Any]) -> Plan:
        """The other end of `dataclasses.asdict`."""
        fixed = {name: tuple(value[name]) for name in ("read", "listed", "hidden")}
        return cls(**(value | fixed | {"limits": Limits(**value["limits"])}))


def make_plan(walls: Walls, source: str, limits: Limits) -> Plan:
    """A plan for this interpreter: its standard library, the allowed packages, the system's libraries."""
    site = sysconfig.get_path("platlib")
    standard = _standard_library()
    read = [*_SYSTEM, *_entries(site, is_library)]
    if walls == "namespaces":
        read += standard
    else:  # nothing can be covered up there, so what may be read is named more closely
        read += [path for folder in standard for path in _entries(folder, _is_standard)]
    hidden = [f"{folder}/{name}" for folder in standard for name in _PACKAGES]
    return Plan(
        walls=walls,
        source=source,
        limits=limits,
        read=tuple(path for path in read if os.path.exists(path)),
        listed=(site, *standard),
        hidden=tuple(path for path in (*hidden, *_SYSTEM_PACKAGES) if os.path.isdir(path)),
        site=site,
    )


def is_library(entry: str) -> bool:
    """Whether an entry of site-packages belongs to an allowed library: itself, its .libs or .dist-info."""
    return entry.split("-")[0].split(".")[0].lower() in LIBRARIES


def _is_standard(entry: str) -> bool:
    return entry not in _PACKAGES


def _standard_library() -> list[str]:
    """Its folder, and that of its compiled modules: the interpreter's, not those of a virtual environment."""
    folders = {os.path.realpath(os.path.dirname(os.__file__)), sysconfig.get_config_var("DESTSHARED")}
    outer = {folder for folder in folders if folder and os.path.isdir(folder)}
    return sorted(folder for folder in outer if os.path.dirname(folder) not in outer)


def _entries(folder: str, wanted: Callable[[str], bool]) -> list[str]:
    return sorted(f"{folder}/{entry}" for entry in os.listdir(folder) if wanted(entry))
