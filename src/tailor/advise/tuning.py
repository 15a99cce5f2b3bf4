"""Tuned arms: fine-tuning jobs through the API, at nested sizes, and what they answer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tailor.advise.arms import Arm, Progress
from tailor.advise.material import row_of
from tailor.client import Endpoint
from tailor.data.doctor import Item
from tailor.errors import Internal
from tailor.protocol import JobRequest, ModelObject

SMALL_PARAMETERS: Final = 100_000_000
"""Below it all weights are trained: measured to be better and no slower (docs/log.md)."""

LEAST_TO_TRAIN: Final = 12
"""Examples; the API wants 10."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """How versions are made."""

    endpoint: Endpoint
    base: ModelObject
    max_steps: int
    """Of one training at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A version that was trained."""

    model: str
    seconds: float
    trained_tokens: int


def nested_sizes(total: int, *, quick: bool) -> list[int]:
    """A quarter, a half and all of the examples, as far as they can be trained on; if quick only all."""
    shares = (1,) if quick else (4, 2, 1)
    return [total // share for share in shares if total // share >= LEAST_TO_TRAIN]


def tune(tuning: Tuning, rows: Sequence[str], *, seed: int, arm: Arm) -> Generator[Progress, None, Made]:
    """One job, from upload to version.

    Raises:
        Internal: The job failed.
        TailorError: The endpoint will not take it.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "advise.jsonl"
        path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
        uploaded = tuning.endpoint.upload(path)
    request = JobRequest(
        model=tuning.base.id,
        training_file=uploaded.id,
        suffix="advise",
        seed=seed,
        metadata={"name": f"tailor advise: {arm.name}"[:512]},
        tailor=_options(tuning),
    )
    job = tuning.endpoint.start(request)
    try:
        for update in tuning.endpoint.follow(job.id):
            job = update.job
            step, total = job.tailor.get("step") or 0, job.tailor.get("total_steps")
            what = f"training, step {step} of {total}" if total else "preparing"
            yield Progress(arm=arm, done=0.9 * step / total if total else 0.02, what=what)
    except (KeyboardInterrupt, GeneratorExit):
        tuning.endpoint.cancel(job.id)  # nobody would ever ask what it makes
        raise
    if job.fine_tuned_model is None:
        reason = job.error.message if job.error else str(job.tailor.get("pause_reason") or "")
        raise Internal(f"The training for {arm.name} is {job.status}. {reason}".rstrip())
    return Made(
        model=job.fine_tuned_model,
        seconds=time.monotonic() - started,
        trained_tokens=job.trained_tokens or 0,
    )


def rows_of(items: Sequence[Item], answers: Sequence[str] | None = None) -> list[str]:
    """Lines of a training file, with other answers where they are given."""
    if answers is None:
        return [row_of(item) for item in items]
    return [row_of(item, answer) for item, answer in zip(items, answers, strict=True) if answer.strip()]


def _options(tuning: Tuning) -> dict[str, Any] | None:
    """What only our own server understands; nothing for others."""
    if tuning.base.tailor is None:
        return None
    options: dict[str, Any] = {
        "hold_out": 0,
        "max_steps": tuning.max_steps,
        "checkpoint_every_steps": tuning.max_steps,
        "example_losses": False,
    }
    if (tuning.base.tailor.get("parameters") or 0) < SMALL_PARAMETERS:
        options["adapter"] = {"type": "full"}
    return options
