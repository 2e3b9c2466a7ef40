"""How much memory is left: of the machine, and in control groups as a container sees them."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import psutil
import pytest

from minispark.blocks import cache
from minispark.blocks.memory import Memory, read_memory
from minispark.blocks.meta import BlockSource, PartitionMeta
from minispark.errors import OutOfMemory
from minispark.ids import TaskKey
from minispark.observe.failures import FailureLocation, error_of
from minispark.plan.stages import Output, OutputKind, ScanFormat, ScanSpec, Split
from minispark.task.inputs import largest_inputs
from minispark.task.spec import ScanTask, TaskInput, TaskSpec

MIB = 1 << 20


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"memory.{name}").write_text(f"{text}\n")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    kib = 1024
    (tmp_path / "meminfo").write_text(
        f"MemTotal:       {8000 * kib} kB\nMemAvailable:   {5000 * kib} kB\nHugePages_Total: 0\n"
    )
    (tmp_path / "cgroup").write_text("0::/pod/own\n")
    group(tmp_path / "groups/pod/own", max="max", high="max", current=900 * MIB, stat="file 0")
    return tmp_path


def read(machine: Path, *, reserve: float = 0.0) -> Memory | None:
    return read_memory(
        reserve=reserve,
        meminfo=machine / "meminfo",
        own_group=machine / "cgroup",
        groups=machine / "groups",
    )


def test_the_tightest_bound_counts(machine: Path) -> None:
    assert read(machine) == Memory(8000 * MIB, 5000 * MIB)
    stat = f"anon 1\nactive_file {200 * MIB}\ninactive_file {100 * MIB}"
    pod = machine / "groups/pod"
    group(pod, max=2000 * MIB, high="max", current=1500 * MIB, stat=stat)
    assert read(machine) == Memory(2000 * MIB, 800 * MIB)
    group(pod / "own", high=1000 * MIB)
    assert read(machine) == Memory(1000 * MIB, 100 * MIB)
    group(pod / "own", max=500 * MIB)
    assert read(machine) == Memory(500 * MIB, 0)


def test_a_system_that_does_not_tell_bounds_nothing(tmp_path: Path) -> None:
    assert read(tmp_path) is None


def test_this_machine_tells() -> None:
    found = read_memory()
    assert found is not None
    assert 0 < found.free_bytes <= found.total_bytes <= psutil.virtual_memory().total


def test_who_took_too_much_reads_what_and_where() -> None:
    splits = tuple(Split(f"data/{n}.csv", 0, n * 16 * MIB, n * 16 * MIB, 0) for n in (1, 2, 3))
    block = BlockSource(TaskKey("j", 4, 0, 0, 0), 0, PartitionMeta(0, 40 * MIB, 1, 0), "h", "d")
    spec = TaskSpec(
        TaskKey("j", 5, 0, 2, 0),
        b"",
        (ScanTask("a", ScanSpec(ScanFormat.CSV), splits),),
        (TaskInput("b", 4, 0, (block, block)),),
        Output(OutputKind.SINGLE),
    )
    inputs = largest_inputs(spec)
    assert inputs == (
        "2 blocks of stage 4 (80.0 MB)",
        "data/3.csv (48.0 MB)",
        "data/2.csv (32.0 MB)",
    )
    failure = OutOfMemory(300 * MIB, 412 * MIB, inputs=inputs)
    said = error_of(failure, FailureLocation(stage=5, name="join", partition=2))
    assert said.code == "MS-204"
    assert said.message == (
        "a task went over its memory limit of 300 MB; it used 412 MB; it read 2 blocks of stage 4 "
        "(80.0 MB), data/3.csv (48.0 MB), data/2.csv (32.0 MB) (stage 5, join, partition 2)"
    )
    told = error_of(OutOfMemory(200 * MIB, 900 * MIB, bound="machine"))
    assert "less than 200 MB of memory was left on the machine or in its group" in told.message
    assert "it used 900 MB" in told.message


def test_a_compressed_input_that_took_too_much_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "bomb.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    (tmp_path / "plain.csv").write_text("a\n1\n")
    splits = (Split("bomb.csv.gz", 0, 2 * MIB, 2 * MIB, 0), Split("plain.csv", 0, MIB, MIB, 0))
    spec = TaskSpec(
        TaskKey("j", 5, 0, 2, 0),
        b"",
        (ScanTask("a", ScanSpec(ScanFormat.CSV), splits),),
        (),
        Output(OutputKind.SINGLE),
        data_root=str(tmp_path),
    )
    assert largest_inputs(spec) == (
        "bomb.csv.gz (2.0 MB, compressed: one task unpacks all of it)",
        "plain.csv (1.0 MB)",
    )


def test_a_share_that_is_to_stay_free_is_one_of_each_bound(machine: Path) -> None:
    group(machine / "groups/pod", max=4800 * MIB, high="max", current=0, stat="file 0")
    assert read(machine) == Memory(4800 * MIB, 4800 * MIB)
    tight = read(machine, reserve=0.5)
    assert tight == Memory(8000 * MIB, 5000 * MIB)
    assert tight.beyond(0.5) == 1000 * MIB


def test_the_cache_takes_what_its_control_group_may_have(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = machine / "groups/pod"
    group(pod, max=300 * MIB, high="max", current=200 * MIB, stat="file 0")
    monkeypatch.setattr(cache, "read_memory", partial(read, machine))
    assert cache.memory_budget(machine, 1 << 60) == 150 * MIB
    assert cache.memory_room(machine, 0.1) == 70 * MIB
    group(pod, current=290 * MIB)
    assert cache.memory_room(machine, 0.1) < 0
