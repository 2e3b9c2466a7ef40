"""What a task uses of its process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from minispark.task.usage import UsageMeter

MB = 1_000_000
linux = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="there is no /proc here")


def _work() -> None:
    for _ in range(200_000):
        pass


def test_cpu_time_is_that_of_the_present_task() -> None:
    meter = UsageMeter()
    meter.begin()
    _work()
    first = meter.usage().cpu_s
    assert first > 0
    meter.begin()
    assert meter.usage().cpu_s < first


@linux
def test_the_peak_of_one_task_is_not_that_of_the_next() -> None:
    meter = UsageMeter()
    meter.begin()
    large = bytearray(os.urandom(1)) * (80 * MB)
    peak = meter.usage().peak_memory_bytes
    del large
    meter.begin()
    after = meter.usage().peak_memory_bytes
    assert peak is not None
    assert after is not None
    assert peak - after > 60 * MB


@linux
def test_only_what_a_query_writes_is_spilled(tmp_path: Path) -> None:
    meter = UsageMeter()
    meter.begin()
    (tmp_path / "output").write_bytes(bytes(2 * MB))
    with meter.collecting():
        (tmp_path / "spill").write_bytes(bytes(3 * MB))
    with meter.collecting():
        (tmp_path / "line").write_text("a line that a task prints")
    assert 3 * MB <= meter.usage().bytes_spilled < 4 * MB
    meter.begin()
    assert meter.usage().bytes_spilled == 0


def test_without_proc_only_cpu_time_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("minispark.task.usage._PROC", tmp_path)
    meter = UsageMeter()
    meter.begin()
    with meter.collecting():
        (tmp_path / "file").write_bytes(bytes(MB))
    usage = meter.usage()
    assert (usage.peak_memory_bytes, usage.bytes_spilled) == (None, 0)
