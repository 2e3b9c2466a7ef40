"""The planner: a LazyFrame becomes a StageGraph. It knows nothing of who runs it.

What is named here is loaded when it is first used: who only reads or runs a plan, as workers and
their executors do, need not wait for the planner.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minispark.plan.build import PlanOutput, plan_outputs
    from minispark.plan.stages import StageGraph

__all__ = ["PlanOutput", "StageGraph", "plan_outputs"]

_HOMES = {
    "PlanOutput": "minispark.plan.build",
    "StageGraph": "minispark.plan.stages",
    "plan_outputs": "minispark.plan.build",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        msg = f"module 'minispark.plan' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(home), name)
