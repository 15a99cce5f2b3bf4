"""The user's own cases that a version must not break, read before anything is trained."""

from __future__ import annotations

import os
import shutil

from tailor.data import read_cases
from tailor.errors import InvalidRequest, NotFound
from tailor.evals.canaries import Canaries
from tailor.jobs.attempt import Attempt
from tailor.jobs.options import JobOptions
from tailor.store import Store

MOST = 2_000
"""Both models answer each of them."""
_NAME = "canaries.jsonl"


def read_canaries(attempt: Attempt) -> Canaries | None:
    """The canaries of a job, if it has any.

    They are copied beside the job's saves at its first attempt; the file may be deleted after that. Raises
    InvalidRequest for a file that is gone before, or holds no cases.
    """
    job = attempt.job
    file_id = JobOptions.parse(job.options).canaries
    if file_id is None:
        return None
    copy = attempt.lease.directory / _NAME
    if not copy.exists():
        check_canaries(attempt.store, job.tenant, file_id)
        aside = copy.with_name(f"{_NAME}.{attempt.lease.token}")
        with attempt.store.files.open(job.tenant, file_id) as stream, aside.open("wb") as out:
            shutil.copyfileobj(stream, out)
            out.flush()
            os.fsync(out.fileno())
        aside.replace(copy)
    with copy.open("rb") as stream:
        return Canaries(file=file_id, cases=read_cases(stream, name=file_id).cases)


def check_canaries(store: Store, tenant: str, file_id: str) -> None:
    """Raise InvalidRequest, naming `tailor.canaries`, unless the file is there and holds good cases."""
    try:
        record = store.files.get(tenant, file_id)
        with store.files.open(tenant, file_id) as stream:
            cases = read_cases(stream, name=record.filename)
    except NotFound as error:
        raise InvalidRequest(
            f"tailor.canaries: there is no file {file_id[:80]}.",
            param="tailor.canaries",
            code="invalid_canaries",
            remedy="Upload it with purpose 'evals' and use the id that comes back.",
        ) from error
    if not cases.report.ok or not len(cases):
        raise InvalidRequest(
            f"tailor.canaries: {cases.report.summary()}.\n{cases.report.listing()}",
            param="tailor.canaries",
            code="invalid_canaries",
            remedy="A line is a case: messages, and expected_patterns or a reference.",
        )
    if len(cases) > MOST:
        raise InvalidRequest(
            f"tailor.canaries: {len(cases):,} cases are more than {MOST:,}.",
            param="tailor.canaries",
            code="invalid_canaries",
            remedy="Choose the ones that matter most.",
        )
