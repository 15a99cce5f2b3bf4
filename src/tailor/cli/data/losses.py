"""The losses that a job found for its training examples, from the job or from a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from tailor.errors import InvalidRequest

if TYPE_CHECKING:
    from tailor.cli.view import View
    from tailor.data.doctor import Losses

_NAME = "example_losses.jsonl"


def losses_of(view: View, wanted: str, home: Path | None) -> Losses:
    """The losses of a job (`ftjob-...`) or in a file.

    Raises:
        InvalidRequest: There is neither, or the job kept none.
    """
    from tailor.cli.files import opened
    from tailor.data.doctor import read_losses

    if wanted.startswith("ftjob-"):
        return read_losses(io.BytesIO(_of_job(view, wanted, home)), name=_NAME)
    with opened(Path(wanted)) as stream:
        return read_losses(stream, name=wanted)


def _of_job(view: View, job_id: str, home: Path | None) -> bytes:
    from tailor.cli.connect import connect

    with connect(view, home) as connection:
        endpoint = connection.endpoint
        for file_id in endpoint.job(job_id).result_files:
            if endpoint.openai.files.retrieve(file_id).filename == _NAME:
                return endpoint.openai.files.content(file_id).read()
    raise InvalidRequest(
        f"The job {job_id} kept no losses of its examples.",
        param="losses",
        remedy="A supervised job has them once it has succeeded; above 20,000 examples only where it was "
        'asked for them (`tailor: {"example_losses": true}`).',
    )
