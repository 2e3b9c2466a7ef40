"""Simulated clusters: the real scheduler and the real state machine of workers, with random faults.

One seed is one history: fake clock, network, disks and workers, random jobs, and faults of all
kinds (`faults.KINDS`). After every step the scheduler is compared with what really happened. Then
all faults end, and every job has to end. ``minispark simulate`` runs histories; see also
``docs/simulator.md``.
"""

from minispark.testing.sim.options import SimOptions
from minispark.testing.sim.world import SimHistory, SimulationError, World, run

__all__ = ["SimHistory", "SimOptions", "SimulationError", "World", "run"]
