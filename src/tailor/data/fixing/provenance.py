"""Where a mended file came from: the last line of the log beside it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

from tailor.data.convert import line_of
from tailor.data.fixing.choices import Choices
from tailor.data.fixing.fixing import Fixed

_TAIL_BYTES = 1 << 16


def log_beside(out: Path) -> Path:
    """Where the log of a mended file lies unless it is named."""
    return out.with_name(f"{out.name}.log.jsonl")


def sign(log: BinaryIO, choices: Choices, done: Fixed, *, out: Path, validation: Path | None) -> None:
    """End a log with what was made, by which choices."""
    made: dict[str, Any] = {
        "action": "written",
        "file": out.name,
        "sha256": done.sha256,
        "num_rows": done.num_rows,
        "choices": choices.to_dict(),
    }
    if validation is not None and done.validation_sha256 is not None:
        made["validation"] = {
            "file": validation.name,
            "sha256": done.validation_sha256,
            "num_rows": done.num_held_out,
        }
    log.write(line_of(made))


def validation_of(path: Path) -> str | None:
    """The name of the validation file that was divided off exactly this file; None if there is none.

    Dividing it again would not mend anything: it would throw training data away.
    """
    try:
        with log_beside(path).open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            made = json.loads(stream.read().rstrip().rpartition(b"\n")[2])
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
    if (
        not isinstance(made, dict)
        or made.get("sha256") != digest
        or not isinstance(made.get("validation"), dict)
    ):
        return None
    return str(made["validation"].get("file"))
