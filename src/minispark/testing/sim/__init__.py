"""Simulated clusters: the real scheduler and the real worker machine in a world of chance.

One seed is one history: fake clock, network, disks and workers, random jobs, and faults of all
kinds (`faults.KINDS`). After every step the scheduler is compared with what really happened; then
everything heals, and every job has to end. ``minispark simulate`` runs it, ``docs/simulator.md``
tells of it.
"""

from minispark.testing.sim.options import SimOptions
from minispark.testing.sim.world import SimHistory, SimulationError, World, run

__all__ = ["SimHistory", "SimOptions", "SimulationError", "World", "run"]
