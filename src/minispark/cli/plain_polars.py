"""Plain Polars in one warm process, to compare with: on the same machine, with as many threads.

It is a process of its own, because Polars fixes its number of threads when it is imported. One JSON
request per line, ``{"query": "wordcount", "paths": [...], "output": ...}``, gets the answer
``{"seconds": ...}``; ``output`` is a Parquet file for the result.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

import polars as pl


def _wordcount(text: str) -> pl.LazyFrame:
    words = pl.scan_csv(text).select(pl.col("text").str.split(" ").alias("key")).explode("key")
    return words.group_by("key").agg(pl.len().alias("value"))


def _join(sales: str, catalog: str) -> pl.LazyFrame:
    return (
        pl.scan_csv(sales)
        .join(pl.scan_csv(catalog), on="product_id")
        .group_by("category")
        .agg((pl.col("qty") * pl.col("price")).sum().alias("revenue"), pl.len().alias("sales"))
    )


def _trivial(text: str) -> pl.LazyFrame:
    return pl.scan_csv(text).group_by("text").len()


QUERIES: Mapping[str, Callable[..., pl.LazyFrame]] = {
    "wordcount": _wordcount,
    "join": _join,
    "trivial": _trivial,
}
"""Queries over paths, by name; the benchmarks run them on the cluster too."""


class PlainPolars:
    """The process, seen from its parent; a context manager."""

    def __init__(self, *, threads: int) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this Python, our own module
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The end of its input ends the process.
        self._process.communicate()

    def run(self, query: str, *paths: Path, output: Path | None = None) -> float:
        """Run a query of `QUERIES` once and return its duration in seconds."""
        request = {"query": query, "paths": [str(path) for path in paths]}
        if output is not None:
            request["output"] = str(output)
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None  # noqa: S101 - both are pipes
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        answer = stdout.readline()
        if not answer:
            msg = "the plain Polars process ended early; its output is above"
            raise RuntimeError(msg)
        return float(json.loads(answer)["seconds"])


def _serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        start = time.perf_counter()
        result = QUERIES[request["query"]](*request["paths"]).collect(engine="streaming")
        seconds = time.perf_counter() - start
        if request.get("output"):
            result.write_parquet(Path(request["output"]))
        sys.stdout.write(json.dumps({"seconds": seconds}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
