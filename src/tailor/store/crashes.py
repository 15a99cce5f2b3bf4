"""What becomes of a job whose attempt ended unfinished: another one, perhaps smaller, or the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

from tailor.store.records import Job, JsonObject, Level

MAX_ATTEMPTS = 3
LEAST_MICROBATCH_TOKENS = 64
"""Fewer tokens at a time than this are not tried: then it is not the micro-batch that needs the memory."""

Ending = Literal["out_of_memory", "killed", "crashed"]
"""How a worker died: killed by the kernel for want of memory; by SIGKILL, whoever sent it; any other way."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fate:
    """What is written about a job that is taken from its holder."""

    values: dict[str, Any]
    """Columns of its row."""
    message: str
    level: Level


def fate_of(job: Job, *, attempt_step: int, ending: Ending) -> Fate:
    """What comes next for a job whose worker is gone.

    A worker that was killed for want of memory, or twice at the same step by whomever, is followed by one
    that computes half as many tokens at a time. `attempt_step` is where the attempt began.
    """
    waiting = "queued" if job.status == "running" else "validating_files"
    attempts = 0 if job.saved_step > attempt_step else job.attempts + 1
    wants_memory = attempts > 0 and (ending == "out_of_memory" or (ending == "killed" and attempts > 1))
    smaller = half_of(job) if wants_memory else None
    if smaller is None and attempts >= (1 if wants_memory and is_smallest(job) else MAX_ATTEMPTS):
        error = out_of_memory(job) if wants_memory else _crashed(job, attempts)
        ended = {"status": "failed", "error": error, "finished_at": int(time.time()), "attempts": attempts}
        return Fate(values=ended, message=error["message"], level="error")
    values: dict[str, Any] = {"status": waiting, "attempts": attempts}
    message = "The worker stopped unexpectedly; the job goes on from its last checkpoint"
    if smaller is not None:
        # The smaller attempt is a new first one.
        values |= {"max_microbatch_tokens": smaller, "attempts": 1}
        message = (
            "The worker was killed, as happens when memory runs out; the job goes on from its last "
            f"checkpoint with {smaller} tokens at a time instead of {job.max_microbatch_tokens}"
        )
    if job.wanted == "pause":
        values |= {"status": "paused", "resume_status": waiting}
        return Fate(
            values=values,
            message="The worker stopped unexpectedly while pausing; the job is paused.",
            level="warn",
        )
    values["phase"] = "queued" if waiting == "queued" else "validating"
    return Fate(values=values, message=message, level="warn")


def half_of(job: Job) -> int | None:
    """Half the micro-batch of a job that is training; None when that could not help."""
    tokens = job.max_microbatch_tokens
    if job.phase != "training" or tokens is None or is_smallest(job):
        return None
    return max(tokens // 2, LEAST_MICROBATCH_TOKENS)


def is_smallest(job: Job) -> bool:
    """Whether a job that is training cannot be tried with fewer tokens at a time."""
    tokens = job.max_microbatch_tokens
    return job.phase == "training" and tokens is not None and tokens <= LEAST_MICROBATCH_TOKENS


def out_of_memory(job: Job) -> JsonObject:
    """The error of a job that does not fit this machine."""
    even = f", even with {job.max_microbatch_tokens} tokens at a time" if is_smallest(job) else ""
    return {
        "code": "out_of_memory",
        "message": f"The job failed because the machine ran out of memory{even}. Use shorter examples "
        "(tailor.max_context_tokens), a LoRA adapter instead of full training, or a smaller base.",
        "param": None,
    }


def _crashed(job: Job, attempts: int) -> JsonObject:
    return {
        "code": "worker_crashed",
        "message": f"The worker stopped unexpectedly {attempts} times in a row without getting past "
        f"step {job.saved_step}.",
        "param": None,
    }
