"""The laws of the house that import-linter cannot see (design.md section 3, reliability R1, R2, R15)."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import tailor

SOURCE = Path(tailor.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))
ROOMS = [module.name for module in pkgutil.iter_modules([str(SOURCE)]) if module.ispkg]
FORBIDDEN_IMPORTS = {"pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_METHODS = {("torch", "load"), ("os", "system"), ("yaml", "load")}


def nodes() -> Iterator[tuple[str, ast.AST]]:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            yield f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', 0)}", node


def test_nothing_loads_code_with_data() -> None:
    found = []
    for place, node in nodes():
        if isinstance(node, ast.Import) and any(name.name in FORBIDDEN_IMPORTS for name in node.names):
            found.append(place)
        if isinstance(node, ast.ImportFrom) and node.module in FORBIDDEN_IMPORTS:
            found.append(place)
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Name) and function.id in FORBIDDEN_CALLS:
                found.append(place)
            if (
                isinstance(function, ast.Attribute)
                and isinstance(function.value, ast.Name)
                and (function.value.id, function.attr) in FORBIDDEN_METHODS
            ):
                found.append(place)
            if any(
                keyword.arg in ("shell", "trust_remote_code")
                and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
                for keyword in node.keywords
            ):
                found.append(place)
    assert found == []


def test_no_assert_guards_anything() -> None:
    assert [place for place, node in nodes() if isinstance(node, ast.Assert)] == []


def test_no_module_keeps_state() -> None:
    found = [place for place, node in nodes() if isinstance(node, ast.Global)]
    for path in MODULES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            value = node.value if isinstance(node, ast.Assign) else None
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if isinstance(value, ast.List | ast.Dict | ast.Set) and any(
                not name.lstrip("_").isupper() and name not in ("__all__", "model_config") for name in names
            ):
                # Alembic reads its revision fields as plain names.
                found.append(f"{path.relative_to(SOURCE)}:{node.lineno}")
    assert found == []


@pytest.mark.parametrize("room", ROOMS)
def test_every_room_lists_what_it_offers(room: str) -> None:
    module = importlib.import_module(f"tailor.{room}")
    assert module.__doc__
    assert all(hasattr(module, name) for name in getattr(module, "__all__", []))
