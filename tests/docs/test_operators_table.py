"""The table of operators in docs/polars.md is made from the rules.

``MINISPARK_TEST_REGENERATE=1 pytest tests/docs/test_operators_table.py`` writes it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from minispark.plan import build
from minispark.plan.rules.operators import operators, operators_table

PAGE = Path(__file__).parents[2] / "docs" / "polars.md"
TABLE = re.compile(r"(<!-- operators: [^>]* -->\n).*?(\n<!-- end of operators -->)", re.S)


def test_the_page_has_the_table_of_the_rules() -> None:
    page = PAGE.read_text()
    assert len(TABLE.findall(page)) == 1
    made = TABLE.sub(lambda found: f"{found[1]}{operators_table()}{found[2]}", page)
    if os.environ.get("MINISPARK_TEST_REGENERATE"):
        PAGE.write_text(made)
    assert made == PAGE.read_text()


def test_every_module_with_a_rule_names_its_operators() -> None:
    modules = {rule.__module__ for rule in build._RULES.values()} - {build.__name__}
    assert [name for name in modules if not getattr(sys.modules[name], "OPERATORS", ())] == []


def test_no_text_breaks_the_table() -> None:
    for operator in operators():
        for text in (operator.calls, operator.split, operator.whole):
            assert not set("|\n") & set(text), text
