"""Where an earlier attempt at the job has left it: its recipe, its newest good save, its micro-batch."""

from __future__ import annotations

from dataclasses import replace

from tailor.jobs.attempt import Attempt
from tailor.store import Corrupt, read_manifest
from tailor.training import Learner, Progress, Recipe, load_checkpoint


def saved_recipe(attempt: Attempt) -> Recipe | None:
    """The recipe that earlier attempts trained with: resolved once, whatever has changed since."""
    for save in attempt.lease.saves():
        try:
            return Recipe.from_dict(read_manifest(attempt.lease.directory / save.directory)["recipe"])
        except Corrupt:
            continue
    return None


def restored(attempt: Attempt, learner: Learner, fingerprint: str) -> Progress:
    """Bring the learner to the newest save that is whole; from the start if there is none."""
    lease = attempt.lease
    saves = lease.saves()
    for save in saves:
        try:
            progress = load_checkpoint(
                lease.directory / save.directory, learner, dataset_fingerprint=fingerprint
            )
        except (Corrupt, FileNotFoundError):
            lease.add_event(
                f"The saved state at step {save.step} is damaged and is not used.",
                level="warn",
                data={"recovery": True},
            )
            continue
        lease.add_event(f"Going on from the state saved at step {progress.step}", data={"recovery": True})
        return progress
    if saves:
        lease.add_event(
            "No saved state is usable; training starts again.", level="warn", data={"recovery": True}
        )
    return Progress()


def within_memory(attempt: Attempt, recipe: Recipe, progress: Progress) -> Progress:
    """The same progress, with the smaller micro-batch that is due after running out of memory."""
    limit = attempt.job.max_microbatch_tokens
    if limit is None or limit >= (progress.max_microbatch_tokens or recipe.max_microbatch_tokens):
        return progress
    return replace(progress, max_microbatch_tokens=limit)
