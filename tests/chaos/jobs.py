"""Jobs whose answers are known: word count, join and sort, as JSON jobs and as Polars queries."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
from polars import col
from polars.testing import assert_frame_equal

from minispark.jobs import plan_job
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import OutputKind, StageGraph
from minispark.settings import PlanSettings

_WORDS = 3_000
_FILES = 4


@dataclass(frozen=True, slots=True)
class Tables:
    """Generated files, several of each kind."""

    text: Path
    sales: Path
    goods: Path


@dataclass(frozen=True)
class Job:
    """A job and what plain Polars says to it.

    ``payload`` is a JSON job or a plan. Rows that were written as files are read back from
    ``written``.
    """

    name: str
    payload: Mapping[str, Any] | StageGraph
    expected: pl.DataFrame = field(repr=False)
    ordered: bool
    written: Path | None = None

    @cached_property
    def results(self) -> frozenset[int]:
        """The stages whose rows are delivered."""
        graph = self.payload if isinstance(self.payload, StageGraph) else plan_job(self.payload)
        sinks = {stage.id for stage in graph.stages if stage.output.kind is OutputKind.SINK}
        return frozenset({result.stage for result in graph.results} | sinks)

    def check(self, found: pl.DataFrame) -> None:
        """Raise AssertionError unless these are the rows."""
        assert_frame_equal(
            found, self.expected, check_row_order=self.ordered, check_dtypes=self.written is None
        )

    def read_written(self) -> pl.DataFrame:
        """Read what the job wrote, and see that nothing else is there.

        Raises
        ------
        AssertionError
            The output is not whole, or something staged was left.
        """
        assert self.written is not None
        names = sorted(path.name for path in self.written.iterdir())
        strange = [name for name in names if not name.startswith("part-") and name != "_SUCCESS"]
        if "_SUCCESS" not in names or strange:
            msg = f"{self.written} holds {names}"
            raise AssertionError(msg)
        return pl.read_csv(self.written / "part-*.csv")


def write_tables(folder: Path, *, seed: int, lines: int) -> Tables:
    """Write a text of ``lines`` lines and tables to join, by a seed."""
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(seed)
    words = [f"w{number}" for number in range(_WORDS)]
    weights = [1 / (rank + 1) for rank in range(_WORDS)]
    drawn = pl.Series(dice.choices(words, weights, k=lines * 8))
    text = drawn.reshape((lines, 8)).cast(pl.List(pl.String)).list.join(" ")
    ids = pl.Series(range(lines))
    sales = pl.DataFrame(
        {
            "id": ids,
            "product": pl.Series([dice.choice((1, 1, 2, dice.randrange(900))) for _ in ids]),
            "amount": pl.Series([dice.choice((None, dice.randrange(1000))) for _ in ids]),
            "word": drawn[:lines],
        }
    )
    goods = pl.DataFrame(
        {
            "product": pl.Series(range(1_000)),
            "kind": pl.Series([f"kind {number % 17}" for number in range(1_000)]),
        }
    )
    tables = Tables(folder / "text", folder / "sales", folder / "goods")
    for directory in (tables.text, tables.sales, tables.goods):
        directory.mkdir()
    step = -(-lines // _FILES)
    for part in range(_FILES):
        cut = slice(part * step, (part + 1) * step)
        text[cut].to_frame("text").write_csv(tables.text / f"{part}.csv")
        sales[cut].write_parquet(tables.sales / f"{part}.parquet")
    goods.write_csv(tables.goods / "0.csv")
    return tables


def _word_count(tables: Tables, partitions: int, out: Path | None) -> Job:
    nodes: list[dict[str, Any]] = [
        {"id": "read", "op": "read_csv", "path": f"{tables.text}/*.csv"},
        {"id": "split", "op": "flat_map", "fn": "split_words"},
        {"id": "pair", "op": "map", "fn": "pair_with_one"},
        {"id": "sum", "op": "reduce_by_key", "fn": "sum"},
    ]
    edges = [["read", "split"], ["split", "pair"], ["pair", "sum"]]
    if out is not None:
        nodes.append({"id": "write", "op": "write_csv", "path": str(out)})
        edges.append(["sum", "write"])
    name = "word count" if out is None else "word count to files"
    payload = {
        "name": name,
        "dag": {"nodes": nodes, "edges": edges},
        "parallelism": partitions,
    }
    words = pl.scan_csv(tables.text / "*.csv").select(col("text").str.split(" ").alias("key"))
    expected = words.explode("key").group_by("key").agg(pl.len().cast(pl.Int64).alias("value"))
    return Job(name, payload, expected.collect(), ordered=False, written=out)


def _cached(tables: Tables, partitions: int, _out: Path | None) -> Job:
    """Count the words that are not rare; those of the whole text are kept for the next such job."""
    nodes: list[dict[str, Any]] = [
        {"id": "read", "op": "read_csv", "path": f"{tables.text}/*.csv"},
        {"id": "split", "op": "flat_map", "fn": "split_words"},
        {"id": "kept", "op": "cache"},
        {"id": "short", "op": "filter", "where": "length(token) < 4"},
        {"id": "sum", "op": "reduce_by_key", "key": "token", "fn": "sum"},
    ]
    ids = [node["id"] for node in nodes]
    edges = [list(edge) for edge in pairwise(ids)]
    payload = {"name": "cached", "dag": {"nodes": nodes, "edges": edges}, "parallelism": partitions}
    words = pl.scan_csv(tables.text / "*.csv").select(col("text").str.split(" ").alias("token"))
    short = words.explode("token").filter(col("token").str.len_chars() < 4)
    expected = short.group_by("token").agg(pl.len().cast(pl.Int64).alias("count"))
    return Job("cached", payload, expected.collect(), ordered=False)


def _join(tables: Tables, partitions: int, _out: Path | None) -> Job:
    nodes = [
        {"id": "sales", "op": "read_parquet", "path": f"{tables.sales}/*.parquet"},
        {"id": "goods", "op": "read_csv", "path": f"{tables.goods}/*.csv"},
        {"id": "join", "op": "join", "on": "product", "how": "full"},
        {
            "id": "sums",
            "op": "aggregate",
            "by": ["kind"],
            "aggs": {"total": "sum(amount)", "rows": "count(*)"},
        },
    ]
    edges = [["sales", "join"], ["goods", "join"], ["join", "sums"]]
    payload = {"name": "join", "dag": {"nodes": nodes, "edges": edges}, "parallelism": partitions}
    sales, goods = _scan(tables)
    expected = (
        sales.join(goods, on="product", how="full", coalesce=True)
        .group_by("kind")
        .agg(pl.sql_expr("sum(amount)").alias("total"), pl.sql_expr("count(*)").alias("rows"))
    )
    return Job("join", payload, expected.collect(), ordered=False)


def _sort(tables: Tables, partitions: int, _out: Path | None) -> Job:
    nodes = [
        {"id": "sales", "op": "read_parquet", "path": f"{tables.sales}/*.parquet"},
        {"id": "sort", "op": "sort", "by": ["word", "amount"], "descending": [False, True]},
    ]
    payload = {
        "name": "sort",
        "dag": {"nodes": nodes, "edges": [["sales", "sort"]]},
        "parallelism": partitions,
    }
    sales, _ = _scan(tables)
    expected = sales.sort("word", "amount", descending=[False, True], maintain_order=True)
    return Job("sort", payload, expected.collect(), ordered=True)


def _scan(tables: Tables) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    return pl.scan_parquet(tables.sales / "*.parquet"), pl.scan_csv(tables.goods / "*.csv")


def _query(name: str, query: pl.LazyFrame, partitions: int, *, ordered: bool) -> Job:
    settings = PlanSettings(parallelism=partitions, single_task_bytes=0, broadcast_bytes=0)
    graph = plan_outputs([PlanOutput("out", query)], settings=settings)
    return Job(name, graph, query.collect(engine="in-memory"), ordered=ordered)


def _query_words(tables: Tables, partitions: int, _out: Path | None) -> Job:
    words = pl.scan_csv(tables.text / "*.csv").select(col("text").str.split(" ").alias("word"))
    query = words.explode("word").group_by("word").agg(pl.len().alias("n"))
    return _query("query: words", query, partitions, ordered=False)


def _query_joins(tables: Tables, partitions: int, _out: Path | None) -> Job:
    sales, goods = _scan(tables)
    sums = sales.group_by("product").agg(col("amount").sum().alias("total"), pl.len().alias("n"))
    query = (
        sales.join(goods, on="product", how="left")
        .join(sums, on="product", how="full", coalesce=True)
        .group_by("kind", "n")
        .agg(col("amount").max(), col("total").sum(), col("word").n_unique())
    )
    return _query("query: two joins", query, partitions, ordered=False)


def _query_sort(tables: Tables, partitions: int, _out: Path | None) -> Job:
    sales, goods = _scan(tables)
    query = (
        sales.unique(subset=["word", "amount"], keep="first", maintain_order=True)
        .join(goods, on="product", how="left", maintain_order="left")
        .sort("amount", "id", descending=True, nulls_last=True)
    )
    return _query("query: unique and sort", query, partitions, ordered=True)


def written_job(tables: Tables, partitions: int, out: Path | None) -> Job:
    """Count words and write them to files, so that no block is left of it."""
    return _word_count(tables, partitions, out)


def _read(tables: Tables, partitions: int, _out: Path | None) -> Job:
    return _word_count(tables, partitions, None)


KINDS: tuple[Callable[[Tables, int, Path | None], Job], ...] = (
    _read,
    _query_joins,
    _sort,
    written_job,
    _join,
    _cached,
    _query_words,
    _cached,
    _query_sort,
)
"""What runs, one after the other. ``out`` is a directory that is not there yet."""
