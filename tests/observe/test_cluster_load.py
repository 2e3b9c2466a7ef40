"""The load of the cluster: means of minutes, and no more than a day of them."""

from __future__ import annotations

from minispark.observe.cluster_load import ClusterLoad, thin


def test_samples_of_a_minute_become_one_mean() -> None:
    load = ClusterLoad()
    assert load.minutes() == []
    for second, busy in ((0, 2), (30, 4), (60, 1)):
        load.add(
            6000.0 + second, slots=4, busy_slots=busy, cpu_percent=50.0, memory_bytes=10, jobs=1
        )
    first, last = load.minutes()
    assert (first.at, first.busy_slots, first.slots, first.cpu_percent) == (6000, 3, 4, 50)
    assert (last.at, last.busy_slots) == (6060, 1)


def test_only_a_day_is_kept() -> None:
    load = ClusterLoad()
    for minute in range(2_000):
        load.add(60.0 * minute, slots=1, busy_slots=0, cpu_percent=0, memory_bytes=0, jobs=0)
    kept = load.minutes()
    assert len(kept) == 1_441
    assert kept[-1].at == 60.0 * 1_999


def test_a_plot_gets_few_points() -> None:
    load = ClusterLoad()
    for minute in range(1_000):
        load.add(60.0 * minute, slots=2, busy_slots=minute, cpu_percent=0, memory_bytes=0, jobs=0)
    points = thin(load.minutes(), points=100)
    assert (len(points), points[0].at, points[1].at) == (100, 0, 600)
    assert (points[0].busy_slots, points[-1].busy_slots) == (4.5, 994.5)
    assert thin(load.minutes()[:5]) == load.minutes()[:5]
    assert thin([]) == []
