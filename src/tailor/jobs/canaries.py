"""The user's own cases that a version must not break, read before anything is trained."""

from __future__ import annotations

from tailor.data import read_cases
from tailor.errors import InvalidRequest, NotFound
from tailor.evals.canaries import Canaries
from tailor.jobs.options import JobOptions
from tailor.store import Job, Store

MOST = 2_000
"""Both models answer each of them."""


def read_canaries(store: Store, job: Job) -> Canaries | None:
    """The canaries of a job, if it has any; raises InvalidRequest for a file that is gone or no cases."""
    file_id = JobOptions.parse(job.options).canaries
    return None if file_id is None else check_canaries(store, job.tenant, file_id)


def check_canaries(store: Store, tenant: str, file_id: str) -> Canaries:
    """Read a file of canaries; raises InvalidRequest naming `tailor.canaries`."""
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
    return Canaries(file=file_id, cases=cases.cases)
