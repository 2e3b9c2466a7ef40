"""The measure of scale measures a job that runs to its end."""

from __future__ import annotations

from tests.calibration import python_loop_s

from minispark.testing.sim.scale import measure

DECISIONS_PER_LOOP = 120


def test_a_job_is_measured() -> None:
    reported: list[int] = []
    scale = measure(20, 12_000, slots=2, progress=reported.append)
    assert (scale.workers, scale.slots, scale.tasks) == (20, 2, 12_000)
    assert reported == [10_000]
    # A third of what was measured when this was set; what a good machine does: docs/scale.md.
    assert scale.decisions_s * python_loop_s() > DECISIONS_PER_LOOP
    assert min(scale.reader_s, scale.heartbeat_us, scale.snapshot_mb, scale.peak_mb) > 0
