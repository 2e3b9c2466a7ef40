"""Every error code stands in the docs, with one meaning, and the docs name no other."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
CODE = re.compile(r"MS-\d{3}")


def test_the_page_has_each_code_once() -> None:
    used = {
        code for path in (ROOT / "src").rglob("*.py") for code in CODE.findall(path.read_text())
    } | {"MS-404", "MS-405"}
    rows = re.findall(r"^\| (MS-\d{3}) \|", (ROOT / "docs" / "error-codes.md").read_text(), re.M)
    assert set(rows) == used
    assert max(Counter(rows).values()) == 1
