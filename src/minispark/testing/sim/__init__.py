"""Simulated clusters: the real scheduler and the real worker machine in a world of chance.

One seed is one history: fake clock, network, disks and workers, random jobs, and faults of all
kinds (`faults.KINDS`). After every step the scheduler is compared with what really happened; then
everything heals, and every job has to end. ``minispark simulate`` runs it, ``docs/simulator.md``
tells of it.
"""

from minispark.testing.sim.recipe import Recipe
from minispark.testing.sim.world import History, SimulationError, World, run

__all__ = ["History", "Recipe", "SimulationError", "World", "run"]
