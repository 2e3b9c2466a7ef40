from __future__ import annotations

from dataclasses import replace

import pytest

from minispark.blocks.meta import BlockMeta, BlockSource, PartitionMeta
from minispark.errors import (
    Cancelled,
    ErrorInfo,
    Failure,
    FetchFailed,
    OutOfMemory,
    TaskError,
    TimedOut,
    WorkerLost,
)
from minispark.ids import TaskKey
from minispark.observe.failures import error_of
from minispark.observe.record import JobRecord
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ReadMode,
    ResultSpec,
    ScanFormat,
    ScanInput,
    ScanSpec,
    Split,
    Stage,
    StageGraph,
    StageInput,
)
from minispark.scheduler.commands import BlockRef, JobStatus, LaunchTask, LeafBlocks
from minispark.specs import block_source, fragment, job_spec, task_spec
from minispark.task.spec import TaskFailure, TaskReport, TaskUsage

SPLIT = Split("in.csv", 0, 10, 10, 1)
GRAPH = StageGraph(
    stages=(
        Stage(
            0,
            "map",
            (
                Branch(
                    b"map",
                    3,
                    scans=(ScanInput("in", ScanSpec(ScanFormat.CSV), ((SPLIT,),) * 3),),
                ),
            ),
            Output(OutputKind.HASH, 2, (b"key",)),
            Label.UNORDERED,
            nodes=("read", "flat"),
        ),
        Stage(
            1,
            "reduce",
            (Branch(b"reduce", 2, inputs=(StageInput("below", 0, ReadMode.PARTITION),)),),
            Output(OutputKind.SINGLE),
            Label.DETERMINATE,
            nodes=("agg",),
        ),
    ),
    results=(ResultSpec("agg", 1, ("token", "count")),),
    flow={"read": (), "flat": ("read",), "agg": ("flat",)},
)


def key(stage: int, partition: int, attempt: int = 0) -> TaskKey:
    return TaskKey("j", stage, 0, partition, attempt)


def report(of: TaskKey, rows_in: int, rows: tuple[int, ...], **nodes: int) -> TaskReport:
    parts = tuple(PartitionMeta(0, 8 * n, n, 1) for n in rows)
    return TaskReport(
        of,
        BlockMeta(parts),
        nodes=nodes,
        rows_in=rows_in,
        bytes_read=nodes.get("read", 0) * 10,
        duration_s=nodes.get("read", 0) / 10,
    )


def ran() -> JobRecord:
    """Word count of 3 tasks and 2 reducers, one failure and one lost block on the way."""
    record = JobRecord("j", "words", GRAPH, 100.0)
    for partition in range(3):
        record.launched(key(0, partition), "w1", 101.0)
    record.failed(key(0, 2), TaskError(ErrorInfo("MS-1", "disk"), transient=True), "w1", 101.5)
    record.launched(key(0, 2, 1), "w2", 102.0)
    record.succeeded(report(key(0, 0), 0, (5, 6), read=10, flat=11), "w1", 102.0)
    record.succeeded(report(key(0, 1), 0, (5, 6), read=10, flat=11), "w1", 102.5)
    record.succeeded(report(key(0, 2, 1), 0, (9, 9), read=30, flat=18), "w2", 103.0)
    record.launched(key(1, 0), "w1", 103.0)
    record.launched(key(1, 1), "w2", 103.0)
    return record


def end(record: JobRecord) -> None:
    record.succeeded(report(key(1, 0), 19, (3,), agg=3), "w1", 104.0)
    record.succeeded(report(key(1, 1), 21, (4,), agg=4), "w2", 105.0)
    record.finished(JobStatus.SUCCEEDED, None, 105.0)


def test_view_follows_the_job() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    first = record.view()
    assert (first.status, first.progress, first.started_at) == (JobStatus.ACCEPTED, 0.0, None)
    running = ran()
    view = running.view()
    assert (view.status, view.progress, view.started_at) == (JobStatus.RUNNING, 23.8, 101.0)
    assert [(s.id, s.status, s.tasks_done, s.tasks) for s in view.stages] == [
        ("stage-0", "SUCCEEDED", 3, 3),
        ("stage-1", "RUNNING", 0, 2),
    ]
    end(running)
    done = running.view()
    assert (done.status, done.progress, done.duration_s) == (JobStatus.SUCCEEDED, 100.0, 5.0)
    assert done.version > view.version > first.version


def test_stage_table_has_a_row_per_node_and_per_stage() -> None:
    record = ran()
    end(record)
    rows = {row.id: row for row in record.stage_rows()}
    assert list(rows) == ["read", "flat", "agg", "stage-0", "stage-1"]
    assert [(r.records_in, r.records_out, r.tasks) for r in rows.values()] == [
        (50, 50, 3),
        (50, 40, 3),
        (40, 7, 2),
        (50, 40, 3),
        (40, 7, 2),
    ]
    assert {row.status for row in rows.values()} == {"SUCCEEDED"}
    # The nodes of a stage run as one query: its time is split equally between them.
    assert rows["stage-0"].duration_s == rows["agg"].duration_s == 2.0
    assert rows["read"].duration_s == rows["flat"].duration_s == 1.0
    assert (rows["read"].fused_with, rows["read"].stages) == (["flat"], ["stage-0"])
    assert (rows["read"].fused, rows["agg"].fused) == (True, False)
    assert rows["read"].task_time_s == rows["stage-0"].task_time_s / 2 == 2.5
    assert rows["stage-0"].skew == 2.286
    assert not any(row.pushed_down for row in rows.values())


def test_metrics_sum_over_accepted_attempts() -> None:
    record = ran()
    end(record)
    metrics = record.metrics()
    assert metrics.records == {"read": 50, "flat": 40, "agg": 7}
    assert (metrics.input_records, metrics.all_records) == (50, 97)
    assert metrics.throughput_input_records_s == 10.0
    assert metrics.throughput_all_records_s == 19.4
    assert (metrics.tasks, metrics.retries, metrics.failures) == (5, 1, {"task_error": 1})
    assert metrics.failures_by_worker == {"w1": 1}
    assert (metrics.last_failure_at, metrics.skew, metrics.task_time_s) == (101.5, 2.286, 5.0)
    assert {node.id: (node.records_out, node.duration_s) for node in metrics.nodes} == {
        "read": (50, 1.0),
        "flat": (40, 1.0),
        "agg": (7, 2.0),
    }
    assert metrics.bytes_read == 500
    assert metrics.bytes_shuffled == 40 * 8
    assert metrics.total_time_s == 5.0


def test_a_later_accepted_attempt_replaces_the_earlier() -> None:
    record = ran()
    again = key(0, 0, 1)
    record.launched(again, "w2", 103.5)
    assert record.view().stages[0].tasks_done == 2
    record.succeeded(report(again, 0, (5, 6), read=10, flat=11), "w2", 104.0)
    end(record)
    assert record.metrics().records["read"] == 50
    assert record.metrics().retries == 2
    assert record.view().stages[0].tasks_done == 3


def test_one_attempt_fails_once() -> None:
    record = ran()
    for _ in range(2):
        record.worker_lost("w2", "no heartbeat", 103.5)
        record.failed(key(1, 1), WorkerLost("again"), "w2", 103.6)
    assert record.metrics().failures == {"task_error": 1, "worker_lost": 1}


def test_cancelled_attempts_are_no_failures() -> None:
    record = ran()
    record.failed(key(1, 0), Cancelled(), "w1", 103.5)
    record.finished(JobStatus.CANCELLED, None, 104.0)
    assert "cancelled" not in record.metrics().failures
    rows = {row.id: row.status for row in record.stage_rows()}
    assert rows == {
        "read": "SUCCEEDED",
        "flat": "SUCCEEDED",
        "agg": "CANCELLED",
        "stage-0": "SUCCEEDED",
        "stage-1": "CANCELLED",
    }


def test_a_failed_job_names_the_stage_that_failed() -> None:
    record = ran()
    record.failed(key(1, 0), OutOfMemory(1 << 30), "w1", 103.5)
    record.finished(JobStatus.FAILED, error_of(OutOfMemory(1 << 30)), 104.0)
    record.finished(JobStatus.SUCCEEDED, None, 105.0)
    assert record.view().status is JobStatus.FAILED
    assert record.view().progress == 23.8
    assert {row.status for row in record.stage_rows() if row.id in ("agg", "stage-1")} == {"FAILED"}


def test_stages_that_never_started_are_skipped() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    record.finished(JobStatus.FAILED, ErrorInfo("MS-203", "no worker"), 160.0)
    assert {row.status for row in record.stage_rows()} == {"SKIPPED"}


def test_an_uncounted_node_says_so() -> None:
    graph = StageGraph(GRAPH.stages, GRAPH.results, flow={"read": (), "agg": ("flat",)})
    record = JobRecord("j", "words", graph, 100.0)
    rows = {row.id: row for row in record.stage_rows()}
    assert rows["flat"].pushed_down
    assert rows["flat"].records_out is None
    assert rows["agg"].records_in is None
    assert rows["agg"].records_out == 0


def test_quotes_are_counted_as_no_records() -> None:
    quotes = Stage(
        0,
        "quotes",
        (Branch(b"q", 1, scans=(ScanInput("f", ScanSpec(ScanFormat.QUOTES), ((SPLIT,),)),)),),
        Output(OutputKind.SINGLE),
        Label.DETERMINATE,
    )
    scan = ScanInput("in", ScanSpec(ScanFormat.CSV), ((SPLIT,), (SPLIT,)), quotes="q")
    leaf = StageInput("q", 0, ReadMode.ALL)
    read = Stage(
        1,
        "read",
        (Branch(b"r", 2, scans=(scan,), inputs=(leaf,)),),
        Output(OutputKind.SINGLE),
        Label.DETERMINATE,
        nodes=("read",),
    )

    def rows(flow: dict[str, tuple[str, ...]]) -> tuple[int | None, int]:
        graph = StageGraph((quotes, read), (ResultSpec("read", 1, ("a",)),), flow=flow)
        record = JobRecord("j", "quoted", graph, 0.0)
        record.succeeded(report(key(0, 0), 0, (2,)), "w", 1.0)
        for partition in range(2):
            record.succeeded(report(key(1, partition), 2, (5,), **dict.fromkeys(flow, 7)), "w", 2.0)
        return record.stage_rows()[-1].records_in, record.metrics().all_records

    assert rows({"read": ()}) == (14, 14)
    assert rows({}) == (None, 10)


def test_waiting_for_workers_changes_the_view_once() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    record.waits("nobody is there", now=101.0, no_worker=True)
    version = record.version
    record.waits("nobody is there", now=102.0, no_worker=True)
    assert record.view().workers_waiting
    assert record.view().waiting == "nobody is there"
    assert record.version == version
    record.launched(key(0, 0), "w1", 103.0)
    assert not record.view().workers_waiting
    assert record.view().waiting is None


def test_why_a_job_failed_says_where_and_what_was_printed() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    lost = key(0, 2)
    record.launched(lost, "w1", 101.0)
    failure = OutOfMemory(512 << 20, 600 << 20)
    report = TaskFailure(lost, failure, log=("half way",))
    record.failed(lost, failure, "w1", 102.0, report=report)
    error = record.explain(OutOfMemory(512 << 20, 600 << 20), lost)
    assert error.message == (
        "a task went over its memory limit of 512 MB; it used 600 MB (stage 0, map, partition 2)"
    )
    assert (error.stage, error.partition, error.log) == ("stage-0", 2, ("half way",))
    theirs = ErrorInfo("MS-212", "ValueError: no", detail="Traceback ...")
    error = record.explain(TaskError(theirs), key(1, 0))
    assert (error.message, error.detail) == ("ValueError: no", "Traceback ...")
    assert (error.node, error.stage, error.partition) == ("agg", "stage-1", 0)
    assert record.explain(Cancelled()).stage is None
    assert record.explain(Cancelled()).message == "the job was cancelled"
    assert "its task ran elsewhere" in record.explain(Cancelled(), key(1, 0)).message


def test_a_stage_sums_what_its_tasks_used() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    for partition, spilled in enumerate((0, 500)):
        record.launched(key(0, partition), "w1", 101.0)
        usage = TaskUsage(cpu_s=1.5, peak_memory_bytes=100 + spilled, bytes_spilled=spilled)
        again = report(key(0, partition), 0, (5, 5), read=4)
        again = replace(again, queued_s=2.0, block_bytes_read=7, usage=usage)
        record.succeeded(again, "w1", 110.0)
    row = next(row for row in record.stage_rows() if row.id == "stage-0")
    assert (row.queued_s, row.cpu_s, row.peak_memory_bytes) == (4.0, 3.0, 600)
    assert (row.bytes_read, row.block_bytes_read, row.bytes_written) == (80, 14, 160)
    assert row.bytes_spilled == 500
    metrics = record.metrics()
    assert (metrics.queued_s, metrics.cpu_s, metrics.peak_memory_bytes) == (4.0, 3.0, 600)
    assert (metrics.bytes_spilled, metrics.bytes_written) == (500, 0)
    # It failed later: the first report does not count any more.
    record.succeeded(report(key(0, 1, attempt=1), 0, (5, 5), read=4), "w1", 120.0)
    row = next(row for row in record.stage_rows() if row.id == "stage-0")
    assert (row.queued_s, row.cpu_s, row.bytes_spilled) == (2.0, 1.5, 0)


def test_a_stage_that_was_not_measured_says_so() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    row = next(row for row in record.stage_rows() if row.id == "stage-0")
    assert (row.queued_s, row.bytes_read) == (None, None)
    record.launched(key(0, 0), "w1", 101.0)
    record.succeeded(report(key(0, 0), 0, (5, 5), read=4), "w1", 110.0)
    row = next(row for row in record.stage_rows() if row.id == "stage-0")
    assert (row.cpu_s, row.peak_memory_bytes, row.bytes_spilled) == (None, None, None)
    assert row.bytes_read == 40


def test_time_in_a_queue_is_no_time_of_a_task() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    for partition, queued_s in ((0, 6.0), (1, None)):
        record.launched(key(0, partition), "w1", 101.0)
        shown = replace(report(key(0, partition), 0, (5, 5)), duration_s=2.0, queued_s=queued_s)
        record.succeeded(shown, "w1", 110.0)
    first, second = record.attempts.values()
    assert (first.took_s, first.queued_s) == (2.0, 6.0)
    # A report of an earlier release: all the time in which it did not run.
    assert (second.took_s, second.queued_s) == (2.0, 7.0)
    record.launched(key(0, 2), "w2", 101.0)
    record.worker_lost("w2", "it is gone", 130.0)
    lost = record.attempts[key(0, 2)]
    assert (lost.took_s, lost.queued_s) == (None, None)


def test_a_launch_that_is_said_again_is_no_retry() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0)
    for now in (101.0, 102.0):
        record.launched(key(0, 0), "w1", now)
    assert record.metrics().retries == 0
    assert record.attempts[key(0, 0)].started_at == 101.0


def test_attempts_of_a_lost_worker_end_with_it() -> None:
    record = JobRecord("j", "words", GRAPH, 100.0, version=70)
    for partition, worker in enumerate(("w1", "w2", "w1")):
        record.launched(key(0, partition), worker, 101.0)
    record.succeeded(report(key(0, 0), 1, (1, 1)), "w1", 102.0)
    record.worker_lost("w1", "silence", 103.0)
    record.worker_lost("w1", "silence", 104.0)
    assert [attempt.status for attempt in record.attempts.values()] == [
        "SUCCEEDED",
        "RUNNING",
        "FAILED",
    ]
    assert record.metrics().failures == {"worker_lost": 1}
    assert record.version == 75


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (TaskError(ErrorInfo("MS-9", "own words")), "own words"),
        (FetchFailed("j", 0, 0, 2, 0, "gone"), "partition 2"),
        (WorkerLost("no worker for 60 s"), "no worker for 60 s"),
        (OutOfMemory(512 << 20), "memory limit of 512 MB"),
        (TimedOut(2.5), "timed out after 2.5 s"),
        (Cancelled(), "cancelled"),
    ],
)
def test_every_failure_has_a_sentence(failure: Failure, says: str) -> None:
    assert says in error_of(failure).message


def test_job_spec_keeps_shapes_and_edges() -> None:
    spec = job_spec(GRAPH, "j")
    assert [(s.id, s.partitions, s.result, s.sink, s.label) for s in spec.stages] == [
        (0, 3, False, False, Label.UNORDERED),
        (1, 2, True, False, Label.DETERMINATE),
    ]
    (edge,) = spec.stages[1].branches[0].inputs
    assert (edge.leaf, edge.stage, edge.mode) == ("below", 0, ReadMode.PARTITION)


def test_task_spec_composes_scans_and_blocks() -> None:
    metas = {p: report(key(0, p), 1, (p, p + 1)).block for p in range(3)}

    def source(ref: BlockRef) -> BlockSource:
        meta = metas[ref.key.partition]
        return block_source(ref, meta, host="h", directory="/b", url="http://w")

    scan = task_spec(GRAPH, LaunchTask("w1", 1, key(0, 1), ()), source)
    assert (scan.fragment, fragment(GRAPH, scan.fragment_key)) == (b"", b"map")
    assert scan.scans[0].splits == (SPLIT,)
    refs = tuple(BlockRef(key(0, p), "w1", 1) for p in range(3))
    launch = LaunchTask("w1", 1, key(1, 1), (LeafBlocks("below", 0, 0, refs),))
    task = task_spec(GRAPH, launch, source)
    assert [block.meta.rows for block in task.inputs[0].blocks] == [1, 2, 3]
    with pytest.raises(KeyError):
        task_spec(GRAPH, LaunchTask("w1", 1, key(7, 0), ()), source)
