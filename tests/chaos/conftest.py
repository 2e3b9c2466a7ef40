from __future__ import annotations

from pathlib import Path

import pytest
from tests.plan.queries import write_files
from tests.system.tables import write_tables


@pytest.fixture(scope="package")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tables of the JSON operators, in every format."""
    return write_tables(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="package")
def files(tables: Path) -> tuple[Path, Path]:
    """The two tables of the plan's queries, in a folder of the first ones."""
    folder = tables / "queries"
    folder.mkdir()
    return write_files(folder)
