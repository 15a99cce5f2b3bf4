"""Inside the walls: runs one item through the foreign code, and says what came of it.

Nothing in this process can be trusted once `grade` has run. What leaves it is a short text that the
outside reads as data.
"""

from __future__ import annotations

import ast
import importlib.abc
import json
import linecache
import math
import traceback
import types
from typing import Any, Final

FILE: Final = "grader.py"
_MAX_TEXT: Final = 2000
_MAX_MODULES: Final = 64


class _Source(importlib.abc.InspectLoader):
    """Loads the grader from its text."""

    def __init__(self, source: str) -> None:
        self._source = source

    def get_source(self, fullname: str) -> str:
        return self._source

    def get_code(self, fullname: str) -> types.CodeType:
        return self.source_to_code(self._source, FILE)


def grade_item(source: str, request: bytes) -> dict[str, Any]:
    """`{"score": number}`, or `{"error": sentence}` whatever went wrong."""
    try:
        case = json.loads(request)
        return {"score": _number(_function(source)(case["sample"], case["item"]))}
    except BaseException as error:
        return {"error": _told(error)}


def check_source(source: str) -> dict[str, Any]:
    """`{}` if the source loads and defines `grade`, else `{"error": sentence}`."""
    try:
        _function(source)
    except BaseException as error:
        return {"error": _told(error)}
    return {}


def imports_of(source: str) -> dict[str, Any]:
    """Names of the modules that the source may import, without running it."""
    names: set[str] = set()
    try:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Import):
                names.update(name.name for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module)
    except BaseException as error:
        return {"error": _told(error)}
    return {"imports": sorted(names)[:_MAX_MODULES]}


class _Unusable(Exception):
    """The source runs, but is no grader."""


def _function(source: str) -> Any:
    lines = source.splitlines(keepends=True)
    linecache.cache[FILE] = (len(source), None, lines, FILE)
    module = types.ModuleType("grader")
    module.__file__ = FILE
    _Source(source).exec_module(module)
    grade = getattr(module, "grade", None)
    if not callable(grade):
        raise _Unusable("the source defines no function grade(sample, item)")
    return grade


def _number(returned: Any) -> float:
    if returned is None or isinstance(returned, str | bytes):
        raise _Unusable(f"grade returned {returned!r:.100}; it must return a number")
    score = float(returned)
    if not math.isfinite(score):
        raise _Unusable(f"grade returned {score}; it must return a finite number")
    return score


def _told(error: BaseException) -> str:
    """Type, message and line in the grader of an error."""
    try:
        if isinstance(error, _Unusable):
            return _cut(str(error))
        if isinstance(error, SyntaxError):
            return _cut(f"{type(error).__name__}: {error.msg} (line {error.lineno} of the source)")
        lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
        place = f" (line {lines[-1].lineno}: {lines[-1].line})" if lines else ""
        return _cut("".join(traceback.format_exception_only(type(error), error)).strip() + place)
    except BaseException:
        return "the grader raised an error that cannot be shown"


def _cut(text: str) -> str:
    safe = text.encode("utf-8", "replace").decode().replace("\0", "?")
    return safe if len(safe) <= _MAX_TEXT else safe[:_MAX_TEXT] + "..."
