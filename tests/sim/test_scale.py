"""The measure of scale measures a job that runs to its end."""

from __future__ import annotations

from tests.calibration import python_loop_s

from minispark.testing.sim.scale import measure

DECISIONS_PER_LOOP = 120


def test_a_job_is_measured() -> None:
    told: list[int] = []
    found = measure(20, 12_000, slots=2, progress=told.append)
    assert (found.workers, found.slots, found.tasks) == (20, 2, 12_000)
    assert told == [10_000]
    # A third of what was measured when this was set; what a good machine does: docs/scale.md.
    assert found.decisions_s * python_loop_s() > DECISIONS_PER_LOOP
    assert min(found.reader_s, found.heartbeat_us, found.snapshot_mb, found.peak_mb) > 0
