"""Records of jobs that never ran."""

from __future__ import annotations

from minispark.blocks.meta import BlockMeta, PartitionMeta
from minispark.ids import TaskKey
from minispark.observe.record import JobRecord
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ReadMode,
    ResultSpec,
    Stage,
    StageGraph,
    StageInput,
)
from minispark.task.spec import TaskReport

EVIL = '<img src=x onerror="alert(1)"></script><script>alert(2)</script>'
JOB = "job-c-1-1"


def key_of(stage: int, partition: int, *, attempt: int = 0) -> TaskKey:
    return TaskKey(JOB, stage, 0, partition, attempt)


def graph_of(*, tasks: int = 4, reducers: int = 2, why: str = "") -> StageGraph:
    hashed = Output(OutputKind.HASH, reducers, (b"key",), key_texts=('col("key")',))
    read = ReadMode.ALL if reducers == 1 else ReadMode.PARTITION
    below = StageInput("in", 0, read)
    return StageGraph(
        stages=(
            Stage(0, "map", (Branch(b"map", tasks),), hashed, Label.UNORDERED, nodes=(EVIL,)),
            Stage(
                1,
                "reduce",
                (Branch(b"reduce", reducers, inputs=(below,)),),
                Output(OutputKind.SINGLE),
                Label.DETERMINATE,
                nodes=("agg",),
                why=why,
            ),
        ),
        results=(ResultSpec("agg", 1, ("key", "value")),),
        flow={EVIL: (), "agg": (EVIL,)},
    )


def report_of(
    key: TaskKey, *, rows: int = 10, took_s: float = 1.0, size: int = 100, parts: int = 1
) -> TaskReport:
    block = BlockMeta(tuple(PartitionMeta(0, size, rows, 0) for _ in range(parts)))
    return TaskReport(key, block, rows_in=rows, nodes={}, duration_s=took_s, bytes_read=size)


def finished_record(graph: StageGraph | None = None) -> JobRecord:
    """A job of six tasks on two workers; nothing stands out."""
    record = JobRecord(JOB, EVIL, graph or graph_of(), 1.0)
    for number in range(4):
        key = key_of(0, number)
        record.launched(key, "ab"[number % 2], 1.5)
        record.succeeded(report_of(key), "ab"[number % 2], 2.6 + number // 2)
    for number in range(2):
        key = key_of(1, number)
        record.launched(key, "a", 4.0)
        record.succeeded(report_of(key, took_s=0.4), "a", 4.5 + number / 2)
    return record
