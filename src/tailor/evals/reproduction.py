"""A version made again: the same bytes, the same figures, or something else, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isclose
from typing import Any, Literal

from tailor.store import Job, Version

Verdict = Literal["same bytes", "same figures", "different"]

_RELATIVE = 0.01
"""Losses that differ by no more than this are the same figure: other hardware adds up in another order."""
_TIMINGS = ("seconds", "per_second", "tokens_per", "eta", "memory")
"""Parts of the names of metrics that no two runs share."""


def judge(version: Version, again: Version) -> tuple[Verdict, str, list[str]]:
    """What came of it: a verdict, a sentence, and every difference in recipe, surroundings and metrics."""
    differences = [
        *_differing("recipe", version.recipe, again.recipe),
        *_differing("software", version.software, again.software),
        *_plain("base", version.base_digest, again.base_digest),
        *_plain("chat template", version.template_digest, again.template_digest),
        *_plain("examples", version.dataset_fingerprint, again.dataset_fingerprint),
    ]
    if version.digest == again.digest:
        return (
            "same bytes",
            f"{again.id} has the same bytes as {version.id} (weights {version.digest[:12]}).",
            differences,
        )
    metrics = list(_moved(version.metrics, again.metrics))
    if not metrics:
        sentence = f"{again.id} has other bytes than {version.id}, but the same figures (within 1 %)."
        return "same figures", sentence, differences
    why = " What it was made from differs too." if differences else ""
    sentence = f"{again.id} differs from {version.id}: {'; '.join(metrics[:3])}.{why}"
    return "different", sentence, [*differences, *metrics]


def unfinished(version: Version, job: Job) -> str:
    """Where the second making is."""
    if job.status in ("failed", "cancelled"):
        said = f": {job.error['message']}" if job.error else "."
        return f"The job {job.id} that was to make {version.id} again is {job.status}{said}"
    return f"The job {job.id} makes {version.id} again: {job.status}."


def _differing(what: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*one, *other}):
        if one.get(name) != other.get(name):
            yield f"{what}.{name}: {one.get(name)!r} then, {other.get(name)!r} now"


def _plain(what: str, one: str, other: str) -> Iterator[str]:
    if one != other:
        yield f"{what}: {one[:12]} then, {other[:12]} now"


def _moved(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*one, *other}):
        before, after = one.get(name), other.get(name)
        if any(part in name for part in _TIMINGS) or before == after:
            continue
        if isinstance(before, int | float) and isinstance(after, int | float):
            if not isclose(before, after, rel_tol=_RELATIVE, abs_tol=1e-4):
                yield f"{name} was {before:.5g} and is {after:.5g}"
        else:
            yield f"{name} was {before!r} and is {after!r}"
