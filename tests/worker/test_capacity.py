from dataclasses import replace

import pytest

from minispark.wire.messages import Full
from minispark.worker.capacity import CapacityGate, Readings

GB = 1 << 30
ROOMY = Readings(100 * GB, 50 * GB, 0, 16 * GB, 8 * GB, 0)


class Meter:
    def __init__(self) -> None:
        self.now = ROOMY

    def __call__(self) -> Readings:
        return self.now


def answers(room: CapacityGate, meter: Meter, **series: list[int]) -> list[Full | None]:
    """What a room says while one reading goes through a series."""
    ((name, values),) = series.items()
    found: list[Full | None] = []
    for value in values:
        meter.now = replace(ROOMY, **{name: value})
        found.append(room.read()[0])
    return found


@pytest.mark.parametrize(
    ("name", "what"), [("disk_free_bytes", "disk"), ("memory_free_bytes", "memory")]
)
def test_what_there_is_counts_without_a_limit(name: str, what: str) -> None:
    meter = Meter()
    room = CapacityGate(meter)
    # Half a GB, and again when a bit more than that is free.
    free = [GB, GB // 2 + 1, GB // 2, GB // 2 + 1, GB]
    assert answers(room, meter, **{name: free}) == [None, None, what, what, None]


def test_of_a_small_disk_less_has_to_be_free() -> None:
    meter = Meter()
    meter.now = replace(ROOMY, disk_bytes=100, disk_free_bytes=6)
    room = CapacityGate(meter)
    assert room.read()[0] is None
    meter.now = replace(ROOMY, disk_bytes=100, disk_free_bytes=5)
    assert room.read()[0] == "disk"


@pytest.mark.parametrize(("name", "what"), [("block_bytes", "disk"), ("task_bytes", "memory")])
def test_near_a_limit_there_is_no_room(name: str, what: str) -> None:
    meter = Meter()
    room = CapacityGate(meter, disk_limit_bytes=1000, memory_limit_bytes=1000)
    taken = [0, 849, 850, 840, 800, 849]
    assert answers(room, meter, **{name: taken}) == [None, None, what, what, None, None]


def test_both_are_read_and_told() -> None:
    full, figures = CapacityGate(Meter()).read()
    assert full is None
    assert figures == {"disk_free_bytes": 50.0 * GB, "block_bytes": 0.0}
