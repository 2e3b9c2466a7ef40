"""Names follow the rules in CONTRIBUTING.md."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import minispark

PACKAGE = Path(minispark.__file__).parent
MODULES = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}

TWICE: set[str] = set()
"""Public class names that two or more modules still share. Remove names, add none."""


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def test_no_public_class_name_is_used_twice() -> None:
    modules: dict[str, list[str]] = defaultdict(list)
    for name, path in MODULES.items():
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules[node.name].append(name)
    assert len(modules) > 300
    twice = {name: places for name, places in modules.items() if len(places) > 1}
    new = {name: places for name, places in twice.items() if name not in TWICE}
    assert new == {}, "give one of the two another name"
    assert TWICE - twice.keys() == set(), "these are used once now: remove them from TWICE"


def test_only_packages_list_their_public_names() -> None:
    listing = [
        name
        for name, path in MODULES.items()
        if path.name != "__init__.py" and "__all__" in assigned(path)
    ]
    assert listing == []


def assigned(path: Path) -> set[str]:
    """Return the names that a module assigns at its top level."""
    names: set[str] = set()
    for node in parsed(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign):
            targets = [node.target]
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names
