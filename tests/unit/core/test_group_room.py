"""The core's modules form no circle, and whoever decides about a group sees its state and no more."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.unit.test_arrows import CORE, ROOT, imports

FILES = sorted(CORE.rglob("*.py"))
CHANGERS = {
    *("add", "append", "become", "clear", "discard", "do", "extend", "note", "order", "pop", "popitem", "remove"),
    *("see_round", "see_version", "setattr", "setdefault", "update", "urge"),
}


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def inside(path: Path) -> set[str]:
    """The modules of the core that a file imports, also those for types only."""
    known = {module(file) for file in FILES}
    found = set()
    for name, node in imports(path):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{name}.{one.name}" for one in node.names} | {name}
        else:
            found.add(name)
    # Whoever names a module of a package imports that module; the packages of the core are empty.
    return {name for name in found & known if not (CORE / Path(*name.split(".")[2:])).is_dir()}


def test_no_modules_of_the_core_import_each_other_in_a_circle() -> None:
    waiting = {module(path): inside(path) - {module(path)} for path in FILES}
    while waiting:
        free = {name for name, needed in waiting.items() if not needed & waiting.keys()}
        assert free, f"these import each other in a circle, or are imported by such: {sorted(waiting)}"
        waiting = {name: needed for name, needed in waiting.items() if name not in free}


@pytest.mark.parametrize("path", sorted((CORE / "group").glob("*.py")), ids=lambda path: path.name)
def test_nobody_in_the_room_knows_the_election(path: Path) -> None:
    assert not any("election" in name.lower() for name in inside(path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CORE)))
def test_what_is_only_asked_changes_nothing(path: Path) -> None:
    """`may_...`, `is_...` and `has_...` set nothing and call nothing that does."""
    for function in ast.walk(ast.parse(path.read_text())):
        if not isinstance(function, ast.FunctionDef):
            continue
        if not function.name.lstrip("_").startswith(("may_", "is_", "has_")):
            continue
        for node in ast.walk(function):
            where = f"{path.name}:{getattr(node, 'lineno', 0)}: {function.name}"
            if isinstance(node, ast.Attribute | ast.Subscript):
                assert isinstance(node.ctx, ast.Load), f"{where} sets {ast.unparse(node)}"
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
                assert called not in CHANGERS, f"{where} calls {ast.unparse(node.func)}"
