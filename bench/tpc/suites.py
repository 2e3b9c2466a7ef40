"""The suites: their queries as LazyFrames and as SQL, and how to make their data."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from bench.tpc import tpcds, tpch

GENERATOR = "tpcgen-cli"
_STATEMENT = re.compile(r"^-- (q\d+)\n(.*?);\n", re.DOTALL | re.MULTILINE)

Query = Callable[[Path], pl.LazyFrame]
"""Gives a query over the tables in a folder of Parquet files."""


@dataclass(frozen=True, slots=True)
class Suite:
    """``frames`` are queries written with LazyFrames, ``sql`` the same or others as SQL text."""

    name: str
    frames: Mapping[str, Query]
    sql: Mapping[str, str]

    def tables(self, folder: Path) -> dict[str, Path]:
        """Return the file of each table."""
        return {path.stem: path for path in sorted(folder.glob("*.parquet"))}

    def query(self, name: str, folder: Path) -> pl.LazyFrame:
        """Return a query: as a LazyFrame where it is written as one, otherwise from its SQL."""
        if name in self.frames:
            return self.frames[name](folder)
        tables = {table: pl.scan_parquet(path) for table, path in self.tables(folder).items()}
        return pl.SQLContext(tables, eager=False).execute(self.sql[name])

    @property
    def names(self) -> list[str]:
        """The names of all queries, by number."""
        return sorted({*self.frames, *self.sql}, key=lambda name: int(name[1:]))

    def generate(self, folder: Path, *, scale: float) -> Path:
        """Make the Parquet files of a scale below ``folder`` unless they are there."""
        data = folder / f"{self.name}-{scale:g}"
        if data.exists():
            return data
        begun = data.with_name(f"{data.name}.part")
        shutil.rmtree(begun, ignore_errors=True)
        begun.mkdir(parents=True)
        command = [_generator(), self.name, "parquet", "-s", f"{scale:g}", "-o", str(begun)]
        subprocess.run(command, check=True)  # noqa: S603 - the generator of this environment
        begun.rename(data)
        return data


def _generator() -> str:
    beside = Path(sys.executable).with_name(GENERATOR)
    found = str(beside) if beside.exists() else shutil.which(GENERATOR)
    if found is None:
        msg = f"{GENERATOR} is not installed; `make setup` installs it"
        raise SystemExit(msg)
    return found


def _statements(file: str) -> dict[str, str]:
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    return dict(_STATEMENT.findall(text))


def _over_files(query: Callable[[tpch.Table], pl.LazyFrame]) -> Query:
    return lambda folder: query(lambda table: pl.scan_parquet(folder / f"{table}.parquet"))


SUITES: Mapping[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            "tpch",
            {name: _over_files(query) for name, query in tpch.QUERIES.items()},
            _statements("tpch.sql"),
        ),
        Suite(
            "tpcds",
            {name: _over_files(query) for name, query in tpcds.QUERIES.items()},
            _statements("tpcds.sql"),
        ),
    )
}
