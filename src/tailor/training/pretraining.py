"""Making a base: stages of plain text one after the other, each going on from the weights before it.

The same loop, checkpoints and packing as every job. The working directory holds all there is to go on
from: `start/` (the untrained or grown model), and for each stage its saves and, once done, `model/`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailor.data import Dataset, TextExample, read_texts
from tailor.errors import InvalidRequest
from tailor.models import inspect, load_template
from tailor.store import MANIFEST, Corrupt, write_directory
from tailor.training.checkpoints import load_checkpoint, save_checkpoint
from tailor.training.learner import Learner
from tailor.training.loop import train
from tailor.training.recipe import Recipe
from tailor.training.texts import tokenize_texts
from tailor.training.updates import Progress, Update
from tailor.training.wanted import Wanted

_KEPT_SAVES = 2
_SAVE_SECONDS = 120.0
_MODEL = "model"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One pass of training on its way to a base."""

    name: str
    files: tuple[Path, ...]
    """JSONL with `text` or `messages`."""
    validation: Path | None = None
    """JSONL; its loss is measured at the end of the stage."""
    hyperparameters: dict[str, Any]
    """As in a job's method."""
    options: dict[str, Any]
    """As in a job's `tailor` object."""
    seed: int = 0


def pretrain(start: Path, stages: tuple[Stage, ...], work: Path) -> Iterator[tuple[Stage, Update]]:
    """Train the stages that are not done yet, from the newest save; the model ends in `final_model`.

    Raises:
        InvalidRequest: an option of any stage or a file is not good; all problems of the file are named.
    """
    directory = start
    missing = [stage for stage in stages if not _done(stage, work).is_dir()]
    for stage in missing:
        _wanted(stage)  # hours of one stage must not end at a slip in the next
        _require(*stage.files, *([stage.validation] if stage.validation else []))
    for stage in stages:
        if stage in missing:
            for update in _run(directory, stage, work / stage.name):
                yield stage, update
        directory = _done(stage, work)


def final_model(stages: tuple[Stage, ...], work: Path) -> Path:
    """Where the finished base lies."""
    return _done(stages[-1], work)


def _done(stage: Stage, work: Path) -> Path:
    return work / stage.name / _MODEL


def _run(base: Path, stage: Stage, work: Path) -> Iterator[Update]:
    work.mkdir(parents=True, exist_ok=True)
    template, facts = load_template(base), inspect(base)
    wanted = _wanted(stage)
    limit = min(wanted.max_context_tokens or facts.context_length, facts.context_length)
    dataset = _read(stage.files)
    tokenized = tokenize_texts(dataset.examples, template, max_tokens=limit)
    fingerprint = dataset.fingerprint
    held = _read((stage.validation,)).examples if stage.validation else ()
    validation = tokenize_texts(held, template, max_tokens=limit).examples
    del dataset
    recipe = Recipe.auto(tokenized.facts, facts, wanted, seed=stage.seed, method="text")
    learner = Learner.open(base, recipe)
    progress = _restore(work, learner, fingerprint)
    saved_at = time.monotonic()
    for update in train(learner, tokenized.examples, validation=validation, progress=progress):
        progress = getattr(update, "progress", progress)
        if time.monotonic() - saved_at > _SAVE_SECONDS and progress.step:
            _save(work, learner, progress, fingerprint)
            saved_at = time.monotonic()
        yield update
    draft = work / ".draft"
    shutil.rmtree(draft, ignore_errors=True)
    learner.save(draft)
    files = {path.name: path for path in sorted(draft.iterdir()) if path.name != MANIFEST}
    write_directory(work, _MODEL, files, {})
    shutil.rmtree(draft)


def _wanted(stage: Stage) -> Wanted:
    return Wanted.parse(stage.hyperparameters, {"adapter": {"type": "full"}} | stage.options)


def _require(*files: Path) -> None:
    for path in files:
        if not path.is_file():
            raise InvalidRequest(
                f"There is no file {path}.",
                param="stages.files",
                remedy="Check its name, and the folder given by --data.",
            )


def _read(files: tuple[Path, ...]) -> Dataset[TextExample]:
    parts = []
    for path in files:
        with path.open("rb") as stream:
            part = read_texts(stream, name=path.name)
        if not part.report.ok:
            error = part.report.job_error(param="training_file")
            raise InvalidRequest(error["message"], code=error["code"], param=f"stages.files: {path.name}")
        parts.append(part)
    examples = tuple(example for part in parts for example in part.examples)
    return Dataset(examples=examples, report=parts[0].report)


def _save(work: Path, learner: Learner, progress: Progress, fingerprint: str) -> None:
    name = f"step-{progress.step:08d}"
    if not (work / name).exists():
        save_checkpoint(work, name, learner, progress, dataset_fingerprint=fingerprint)
    for old in _saves(work)[_KEPT_SAVES:]:
        shutil.rmtree(old)


def _saves(work: Path) -> list[Path]:
    return sorted(work.glob("step-*"), reverse=True)


def _restore(work: Path, learner: Learner, fingerprint: str) -> Progress:
    for save in _saves(work):
        try:
            return load_checkpoint(save, learner, dataset_fingerprint=fingerprint)
        except (Corrupt, FileNotFoundError):
            continue
    return Progress()
