"""What users read is in plain words: pages, the help of commands, messages, web pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from minispark.cli.app import app

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "minispark"
UI = SOURCE / "ui"

UNCLEAR = re.compile(
    r"\b(?:anew|mend(?:s|ed|ing)?|hangs? on|somebody|nobody|whoever|whom|wherever|but for"
    r"|shall|told|so many|leaves with|in peace|else (?:by|chosen|made|in|one|as)|dear"
    r"|power cuts?|in line|takes? no more work|ended well|goodbye_not_heard"
    r"|(?:in|of) the same words|do(?:es)? not go on|goes on (?:by|with)|sign of life"
    r"|how a job stands|may (?:root|do less)|(?<!-)figures(?!-open)|how many, one"
    r"|its like|of its own accord|lead(?:s|ing)? nowhere)\b",
    re.I,
)
"""Words and phrases for which there is a plainer one, and pronouns that do not say who or what."""

STORED = {"it registered anew"}
"""Sentences in journals of earlier releases. Pages show them in other words (`reason_words`)."""


def unclear(texts: list[str]) -> list[str]:
    return [text for text in texts if text not in STORED and UNCLEAR.search(text)]


@pytest.mark.parametrize(
    "page",
    [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_pages_are_in_plain_words(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        pytest.skip("describes earlier releases in their own words")
    text = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(), flags=re.S)
    assert unclear(text.splitlines()) == []


def test_the_help_of_every_command_is_in_plain_words() -> None:
    texts = list(helps(get_command(app)))
    assert len(texts) > 200
    assert unclear(texts) == []


def helps(command: Any) -> Iterator[str]:
    yield " ".join((command.help or "").split())
    for parameter in command.params:
        yield getattr(parameter, "help", None) or ""
    for child in getattr(command, "commands", {}).values():
        yield from helps(child)


def test_messages_are_in_plain_words() -> None:
    """Texts of several words in the source, without what only developers read."""
    texts = {
        text: path
        for path in SOURCE.rglob("*.py")
        if "testing" not in path.parts and path.name != "invariants.py"
        for text in literals(ast.parse(path.read_text()))
    }
    assert len(texts) > 1_000
    assert [(texts[text].name, text) for text in unclear(list(texts))] == []


def literals(tree: ast.Module) -> Iterator[str]:
    """Yield the texts of a module, without docstrings and without the values in f-strings."""
    nodes = list(ast.walk(tree))
    docs = {id(n.value) for n in nodes if isinstance(n, ast.Expr)}
    joined = [node.values for node in nodes if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for values in joined for part in values}
    for values in joined:
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in values)
    skipped = docs | parts
    constants = [n.value for n in nodes if isinstance(n, ast.Constant) and id(n) not in skipped]
    yield from (value for value in constants if isinstance(value, str) and " " in value)


@pytest.mark.parametrize("path", [*UI.glob("templates/*.html")], ids=lambda path: path.name)
def test_web_pages_are_in_plain_words(path: Path) -> None:
    """Their text, and the attributes that are read aloud: not ids, classes or comments."""
    text = re.sub(r"\{#.*?#\}|\{%.*?%\}", "", path.read_text(), flags=re.S)
    text = re.sub(r'\b(?:id|class|href|for|aria-labelledby|name)="[^"]*"', "", text)
    text = re.sub(r"\b\w+\.figures\b", "", text)
    assert unclear(text.splitlines()) == []


@pytest.mark.parametrize("path", [*UI.glob("assets/*.js")], ids=lambda path: path.name)
def test_scripts_of_web_pages_are_in_plain_words(path: Path) -> None:
    code = re.sub(r"^ *//.*$", "", path.read_text(), flags=re.M)
    assert unclear(re.findall(r'"[^"\n]*"|`[^`]*`', code)) == []


def test_unclear_texts_are_found() -> None:
    assert unclear(["Show how a job stands.", "Show the status.", *STORED]) == [
        "Show how a job stands."
    ]
    tree = ast.parse('"""told"""\nhint = f"nobody sends {url}"\nname = "it goes on with"')
    assert unclear(list(literals(tree))) == ["nobody sends {}", "it goes on with"]
