"""JSON job -> StageGraph, in one call."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from minispark.jobs.compile import compile_job
from minispark.jobs.contract import parse_job
from minispark.jobs.reading import OnRead
from minispark.plan.build import plan_outputs
from minispark.plan.stages import StageGraph
from minispark.settings import Limits, PlanSettings


def plan_job(
    obj: object,
    *,
    data_root: Path | None = None,
    settings: PlanSettings | None = None,
    limits: Limits | None = None,
    describe: bool = False,
    on_read: OnRead = lambda _reading: None,
) -> StageGraph:
    """Check, compile and plan a JSON job.

    Parameters
    ----------
    obj
        The job as it came from JSON.
    data_root
        What relative paths mean, and beyond which nothing is read or written.
    settings
        How to cut; the job's own ``parallelism`` goes first.
    limits
        How large a job may be.
    describe
        Add the logical plan as text.
    on_read
        Is called before and after an input is looked at.

    Raises
    ------
    UsageError
        The job is wrong; ``info`` names the node and the field.
    polars.exceptions.PolarsError
        Polars refuses the job as a whole.
    """
    settings = settings or PlanSettings()
    compiled = compile_job(parse_job(obj, limits=limits), data_root=data_root, on_read=on_read)
    if compiled.parallelism is not None:
        settings = replace(settings, parallelism=compiled.parallelism)
    graph = plan_outputs(
        compiled.outputs, settings=settings, data_root=data_root, describe=describe
    )
    return replace(graph, flow=compiled.flow)
