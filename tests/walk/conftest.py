"""A fresh copy of the repository, which the pages are walked in."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.walk.pages import ROOT
from tests.walk.shell import Shell


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Only the files that git has or would add: no environment, no data, nothing built."""
    copy = tmp_path_factory.mktemp("copy") / "mini-spark"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in listed.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    yield copy
    # Its environment has some 500 MB, and pytest keeps the directories of three runs.
    shutil.rmtree(copy)


@pytest.fixture(scope="module")
def shell(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One reader for all commands of a page."""
    shell = Shell(copy, tmp_path_factory.mktemp("reader"))
    try:
        yield shell
    finally:
        shell.end()
