"""The measure of scale measures a job that runs to its end."""

from __future__ import annotations

from minispark.testing.sim.scale import measure


def test_a_job_is_measured() -> None:
    told: list[int] = []
    found = measure(20, 12_000, slots=2, progress=told.append)
    assert (found.workers, found.slots, found.tasks) == (20, 2, 12_000)
    assert told == [10_000]
    # A floor that any machine passes; what a good one does stands in docs/scale.md.
    assert found.decisions_s > 500
    assert min(found.reader_s, found.heartbeat_us, found.snapshot_mb, found.peak_mb) > 0
