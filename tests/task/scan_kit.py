"""Runs a scan as the planner and the tasks do, without a planner."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from minispark.plan.polars_plan import parse
from minispark.plan.scan_options import WholeScanError
from minispark.plan.scans import ScanSource, scan_source
from minispark.plan.splits import cut_source, needs_quotes, quotes_spec
from minispark.plan.stages import Split
from minispark.settings import PlanSettings
from minispark.task.scans import open_scan
from minispark.task.spec import ScanTask

Tasks = tuple[tuple[Split, ...], ...]


def source_of(frame: pl.LazyFrame) -> ScanSource | None:
    try:
        return scan_source(parse(frame).body)
    except WholeScanError:
        return None


def cut(frame: pl.LazyFrame, partitions: int | None, **kwargs: Any) -> tuple[ScanSource, Tasks]:
    source = source_of(frame)
    assert source is not None
    settings = kwargs.pop("settings", PlanSettings())
    data_root = kwargs.pop("data_root", None)
    tasks = cut_source(
        source, partitions=partitions, settings=settings, data_root=data_root, **kwargs
    )
    return source, tasks


def quotes_of(
    source: ScanSource, tasks: Tasks, data_root: Path | None = None
) -> pl.DataFrame | None:
    if not needs_quotes(source, tasks):
        return None
    counted = [
        open_scan(
            ScanTask("q", quotes_spec(source), task),
            pl.Schema(),
            quotes=None,
            data_root=data_root,
        ).collect()
        for task in tasks
    ]
    return pl.concat(counted)


def run(
    source: ScanSource, tasks: Tasks, schema: pl.Schema, data_root: Path | None = None
) -> pl.DataFrame:
    quotes = quotes_of(source, tasks, data_root)
    frames = [
        open_scan(
            ScanTask("s", source.spec, task), schema, quotes=quotes, data_root=data_root
        ).collect(engine="streaming")
        for task in tasks
    ]
    return pl.concat(frames, how="vertical")


def in_tasks(frame: pl.LazyFrame, partitions: int | None) -> pl.DataFrame:
    source, tasks = cut(frame, partitions)
    return run(source, tasks, frame.collect_schema())


def at_bytes(frame: pl.LazyFrame, places: list[int]) -> pl.DataFrame:
    """Cut the only file of a scan at given places."""
    source, ((whole,),) = cut(frame, 1)
    edges = [0, *sorted({*places} - {0, whole.size}), whole.size]
    tasks = tuple(
        (Split(whole.path, a, b, whole.size, whole.mtime_ns),) for a, b in pairwise(edges)
    )
    return run(source, tasks, frame.collect_schema())
