"""Ids that we hand out: made here, never from what a caller sent (reliability R7)."""

from __future__ import annotations

import re
import secrets
import string
from typing import Literal

Kind = Literal[
    "file",
    "job",
    "event",
    "checkpoint",
    "completion",
    "request",
    "tool_call",
    "key",
    "message",
    "eval",
    "eval_run",
    "output_item",
]

_PREFIX: dict[Kind, str] = {
    "file": "file-",
    "job": "ftjob-",
    "event": "ftevent-",
    "checkpoint": "ftckpt_",
    "completion": "chatcmpl-",
    "request": "req_",
    "tool_call": "call_",
    "key": "key_",
    "message": "msg_",
    "eval": "eval_",
    "eval_run": "evalrun_",
    "output_item": "outputitem_",
}
_ALPHABET = string.ascii_letters + string.digits

ID_PATTERN = re.compile(r"[A-Za-z0-9]+[-_][A-Za-z0-9]{1,64}(-[0-9]{1,9})?")
"""What any id of ours looks like; anything else is unknown without a look-up."""


def new_id(kind: Kind) -> str:
    """A fresh id: the kind's prefix and 24 random letters and digits."""
    return _PREFIX[kind] + random_name(24)


def random_name(length: int) -> str:
    """`length` random letters and digits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def is_id(text: str) -> bool:
    """Whether `text` could be an id of ours."""
    return ID_PATTERN.fullmatch(text) is not None
