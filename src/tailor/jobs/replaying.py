"""General data that is mixed into a job's own, so that the model keeps what it could do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from tailor.data import read_for
from tailor.errors import NotFound
from tailor.jobs.attempt import Attempt, Refused
from tailor.jobs.validate import method_of
from tailor.models import Template
from tailor.training import TokenizedExample, Wanted, tokenize, tokenize_texts
from tailor.training.rules import WITH_REPLAY

_NAME = "replay.jsonl"


def replayed(
    attempt: Attempt, wanted: Wanted, template: Template, *, limit: int
) -> tuple[Sequence[TokenizedExample], str]:
    """The general examples that may be mixed in, and their fingerprint; none where none are wanted.

    The file is copied beside the job's saves at its first attempt, and may be deleted after that.

    Raises:
        Refused: the file is gone, or not as the method wants it.
    """
    method = method_of(attempt.job)
    if wanted.replay_file is None or method not in WITH_REPLAY:
        return (), ""
    with _copied(attempt, wanted.replay_file).open("rb") as stream:
        dataset = read_for(method, stream, name=wanted.replay_file, part="validation_file")
    if not dataset.report.ok:
        raise Refused(
            f"The file with general data cannot be mixed in: {dataset.report.summary()}",
            code="invalid_replay_file",
            param="tailor.replay.file",
            remedy=f"Bring it into the form that the method {method!r} wants.",
            details={"problems": [asdict(problem) for problem in dataset.report.blocking]},
        )
    as_tokens = tokenize_texts if method == "text" else tokenize
    return as_tokens(dataset.examples, template, max_tokens=limit).examples, dataset.fingerprint


def _copied(attempt: Attempt, file_id: str) -> Path:
    path = attempt.lease.directory / _NAME
    if not path.exists():
        try:
            stream = attempt.store.files.open(attempt.job.tenant, file_id)
        except NotFound as error:
            raise Refused(
                f"The file {file_id} with general data does not exist.",
                code="file_not_found",
                param="tailor.replay.file",
            ) from error
        aside = path.with_name(f"{_NAME}.{attempt.lease.token}")
        with stream, aside.open("wb") as copy:
            shutil.copyfileobj(stream, copy)
            copy.flush()
            os.fsync(copy.fileno())
        aside.replace(path)
    return path
