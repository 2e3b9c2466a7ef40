"""The planner: a LazyFrame becomes a StageGraph. It knows nothing of who runs it."""

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import StageGraph

__all__ = ["PlanOutput", "StageGraph", "plan_outputs"]
