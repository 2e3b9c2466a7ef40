from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.ids import TaskKey
from minispark.observe.stage_totals import StageTotals
from minispark.task.spec import TaskReport


def report(partition: int, rows: int, *, attempt: int = 0) -> TaskReport:
    key = TaskKey("j", 0, 0, partition, attempt)
    block = BlockMeta((PartitionMeta(0, 8 * rows, rows, 1),))
    return TaskReport(key, block, nodes={"read": rows}, rows_in=rows, duration_s=rows / 10)


def test_a_later_report_takes_the_place_of_an_earlier() -> None:
    sums = StageTotals(tasks=2, scans_rows=True)
    first = report(0, 10)
    sums.add(first, replaces=None)
    sums.add(report(1, 30), replaces=None)
    assert (sums.rows_out, sums.bytes_out, sums.nodes["read"], sums.skew) == (40, 320, 40, 1.5)
    sums.add(report(0, 30, attempt=1), replaces=first)
    assert (sums.rows_out, sums.bytes_out, sums.nodes["read"], sums.skew) == (60, 480, 60, 1.0)
    assert round(sums.task_time_s, 6) == 6.0


def test_skew_of_a_large_stage_is_looked_for_now_and_then_and_is_exact_in_the_end() -> None:
    tasks = 1_000
    sums = StageTotals(tasks=tasks, scans_rows=True)
    looks = set()
    for partition in range(tasks):
        sums.add(report(partition, 2 * partition + 2), replaces=None)
        looks.add(sums.skew)
    # Each new task changes it; not each is looked at.
    assert len(looks) < tasks / 4
    assert sums.skew == round(2 * tasks / (tasks + 1), 3)
