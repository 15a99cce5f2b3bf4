"""Checkpoints of a run: weights, optimiser and position, from which it goes on to the same bytes.

Written through `tailor.store.atomic` (aside, fsynced, manifest last, renamed; reliability 2.2). There is no
random-number state to save: all randomness is a function of (seed, step, shard).
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tailor import __version__
from tailor.errors import InvalidRequest
from tailor.store import verify_directory, write_directory
from tailor.training.learner import Learner
from tailor.training.loop import make_deterministic
from tailor.training.updates import Progress

_STATE = "state.safetensors"


def software() -> dict[str, str]:
    """Versions that the arithmetic depends on."""
    return {"tailor": __version__} | {name: version(name) for name in ("torch", "transformers")}


def save_checkpoint(
    parent: Path,
    name: str,
    learner: Learner,
    progress: Progress,
    *,
    dataset_fingerprint: str,
) -> Path:
    """Write a checkpoint directory `parent/name` and return it; all of it is there, or nothing."""
    from safetensors.torch import save_file

    def write_state(path: Path) -> None:
        save_file({key: tensor.cpu().contiguous() for key, tensor in learner.state().items()}, path)

    manifest = _identity(learner, dataset_fingerprint) | {
        "progress": progress.to_dict(),
        "num_threads": torch.get_num_threads(),
        "device": learner.loaded.model.device.type,
        "software": software(),
    }
    return write_directory(parent, name, {_STATE: write_state}, manifest)


def load_checkpoint(directory: Path, learner: Learner, *, dataset_fingerprint: str) -> Progress:
    """Bring the learner to where the checkpoint stands and fix the thread count it was made with.

    Raises:
        InvalidRequest: it belongs to another recipe, base, template or dataset.
        store.Corrupt: it is damaged; take an older one.
    """
    from safetensors.torch import load_file

    manifest = verify_directory(directory)
    for key, value in _identity(learner, dataset_fingerprint).items():
        if manifest.get(key) != value:
            raise InvalidRequest(
                f"Checkpoint {directory.name} was made with another {key.removesuffix('_digest')}.",
                code="checkpoint_mismatch",
                remedy="Start the job anew.",
            )
    make_deterministic(manifest["num_threads"])
    learner.load_state(load_file(directory / _STATE))
    return Progress.from_dict(manifest["progress"])


def _identity(learner: Learner, dataset_fingerprint: str) -> dict[str, Any]:
    facts = learner.loaded.facts
    return {
        "recipe_digest": learner.recipe.digest,
        "recipe": json.loads(json.dumps(learner.recipe.to_dict())),
        "base_digest": facts.digest,
        "template_digest": facts.template_digest,
        "dataset_fingerprint": dataset_fingerprint,
    }
