"""When an answer counts as right: it is the reference, word by word; calls of tools by what they say."""

from __future__ import annotations

import json
import re

from tailor.grading import equals

_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def agrees(text: str, reference: str) -> bool:
    """Whether two answers are the same, white space around them aside.

    Where both call tools, names and arguments are compared as JSON values: spacing and the order of keys
    say nothing.
    """
    return equals(_CALL.sub(_canonical, text), _CALL.sub(_canonical, reference))


def _canonical(found: re.Match[str]) -> str:
    try:
        return json.dumps(json.loads(found[1]), sort_keys=True)
    except (ValueError, RecursionError):
        return found[0]
