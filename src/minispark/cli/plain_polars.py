"""The process behind `baseline`: plain Polars, one query after another, timed.

One JSON request a line, ``{"query": "wordcount", "paths": [...], "output": ...}``, is answered by
``{"seconds": ...}``; with ``output`` the result is written there as Parquet.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

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
"""Named queries over paths; also what the benchmarks run on the cluster."""


def serve() -> None:
    """Answer requests until standard input ends."""
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
    serve()
