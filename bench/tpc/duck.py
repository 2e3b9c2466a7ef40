"""DuckDB as a second opinion, where it is installed; the project does not depend on it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl


class Duck:
    """A DuckDB with a view for each table."""

    def __init__(self, module: Any, tables: Mapping[str, Path]) -> None:
        self._connection = module.connect()
        for table, path in tables.items():
            self._connection.read_parquet(str(path)).create_view(table)

    @classmethod
    def open(cls, tables: Mapping[str, Path]) -> Duck | None:
        """Return a DuckDB over these files, None where it is not installed."""
        try:
            return cls(importlib.import_module("duckdb"), tables)
        except ImportError:
            return None

    def collect(self, sql: str) -> pl.DataFrame:
        """Run a query."""
        return pl.DataFrame(self._connection.sql(sql).to_arrow_table())
