"""Write requirements/{runtime,dev}.txt: the exact versions of this environment that tailor needs.

Run by `make lock` after upgrading something in `.venv`; commit the result. torch is left out of both
files because the Makefile installs it first, by itself (any other order pulls gigabytes of CUDA).
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
INSTALLED_FIRST = {"torch"}


def canonical(name: str) -> str:
    """The package index's spelling of a name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(wanted: list[Requirement]) -> dict[str, str]:
    """Name to version of everything that `wanted` needs here."""
    versions: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = list(wanted)
    while queue:
        requirement = queue.pop()
        key = (canonical(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        versions[canonical(requirement.name)] = found.version
        environment = {**default_environment()}
        for text in found.requires or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(
                needed.marker.evaluate({**environment, "extra": extra}) for extra in extras
            ):
                queue.append(needed)
    return versions


def main() -> None:
    """Write both lists."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    optional = project["project"]["optional-dependencies"]
    runtime = [Requirement(text) for text in project["project"]["dependencies"]]
    runtime += [Requirement(text) for group in ("server", "train", "data") for text in optional[group]]
    # What pip needs to build ours without fetching anything more.
    runtime += [Requirement("hatchling"), Requirement("editables")]
    dev = [Requirement(text) for text in project["dependency-groups"]["dev"]]
    base = closure(runtime)
    extra = {name: version for name, version in closure(dev).items() if name not in base}
    for name, versions in (("runtime", base), ("dev", extra)):
        lines = [f"{package}=={versions[package]}" for package in sorted(versions)]
        lines = [line for line in lines if line.split("==")[0] not in INSTALLED_FIRST]
        (ROOT / "requirements" / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
