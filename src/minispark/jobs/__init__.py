"""JSON jobs: checked field by field, compiled to LazyFrames, planned as stages."""

from minispark.jobs.compile import CompiledJob, compile_job, plan_job
from minispark.jobs.contract import JsonJob, parse_job

__all__ = ["CompiledJob", "JsonJob", "compile_job", "parse_job", "plan_job"]
