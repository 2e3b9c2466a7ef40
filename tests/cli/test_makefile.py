"""The first two commands that a newcomer types stand in ``make help``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGETS = ("demo", "build", "test", "lint", "format", "setup", "bench", "clean", "help")


def test_help_lists_the_targets() -> None:
    out = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory", "help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = {line.split()[1] for line in out.splitlines() if line.startswith("  make ")}
    assert set(TARGETS) <= listed


def test_an_old_python_is_refused_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    pretend = "import sys; sys.version_info = (3, 10, 2); exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{pretend}" "$2"\n')
    old.chmod(0o755)
    ran = subprocess.run(
        ["make", "-C", str(ROOT), f"VENV={tmp_path / 'venv'}", f"PYTHON={old}", "setup"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert f"Mini-Spark needs Python 3.11 or newer; {old} is 3.10." in ran.stderr
    assert not (tmp_path / "venv").exists()


def test_lock_files_pin_by_hash_and_name_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()
        pins = [line for line in text.splitlines() if line and line[0].isalpha()]
        assert pins
        assert all("==" in line for line in pins)
        assert text.count("--hash=sha256:") >= len(pins)
        assert "://" not in text
        assert "--index" not in text
