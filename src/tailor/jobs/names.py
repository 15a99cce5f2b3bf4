"""Names of what a job makes, derived from the job: an attempt done again gives the same names."""

from __future__ import annotations

import hashlib
import string

from tailor.protocol import VersionName
from tailor.store import Job

_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 8


def version_name(job: Job, organization: str, *, step: int | None = None) -> str:
    """Name of the job's final model, or of its checkpoint at `step`, which has an id segment of its own."""
    number = int.from_bytes(hashlib.sha256(f"{job.id}:{step or 'final'}".encode()).digest())
    letters = []
    for _ in range(_LENGTH):
        number, place = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[place])
    name = VersionName(
        base=job.base, organization=organization, suffix=job.suffix or "", id="".join(letters), step=step
    )
    return str(name)
