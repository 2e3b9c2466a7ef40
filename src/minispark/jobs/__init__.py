"""JSON jobs: checked, compiled to LazyFrames, planned."""

from minispark.jobs.compile import CompiledJob, compile_job
from minispark.jobs.contract import JsonJob, parse_job
from minispark.jobs.planning import plan_job

__all__ = ["CompiledJob", "JsonJob", "compile_job", "parse_job", "plan_job"]
