"""What a download says that the master cannot prepare."""

from __future__ import annotations

import random
import resource
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from minispark.blocks.fetch import FetchSettings
from minispark.blocks.format import write_block
from minispark.blocks.host import host_identity
from minispark.blocks.meta import BlockSource
from minispark.ids import TaskKey
from minispark.journal.rows import SinkOutput
from minispark.master.http.downloads import download
from minispark.master.jobs.finished_job import Ending, FinishedJob
from minispark.master.jobs.results import open_stream
from minispark.observe.projection import ReaderGuard
from minispark.observe.record import JobRecord
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.scheduler.commands import FinishJob, JobStatus
from minispark.wire.http import RefusedError
from minispark.wire.messages import NodeBlocks

JOB = "job-a-1-1"


def outcome_of(result: NodeBlocks | SinkOutput) -> FinishedJob:
    graph = plan_outputs([PlanOutput("out", pl.LazyFrame({"a": [1]}))])
    record = JobRecord(JOB, "rows", graph, 0.0)
    blocks, sinks = ([], [result]) if isinstance(result, SinkOutput) else ([result], [])
    ending = Ending(FinishJob(JOB, JobStatus.SUCCEEDED), results=blocks, sinks=sinks)
    return FinishedJob.of(record, ending, at=1.0, guard=ReaderGuard())


def refused(result: NodeBlocks | SinkOutput, spool: Path, format_: str, asked: str) -> RefusedError:
    headers = {"range": asked} if asked else {}
    with pytest.raises(RefusedError) as caught:
        download(
            outcome_of(result),
            None,
            format_,
            asked=headers,
            fetch=FetchSettings(),
            root=None,
            spool=spool,
        )
    return caught.value


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    made = tmp_path / "spool"
    made.mkdir()
    return made


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No file of this process grows beyond 16 kB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("format_", "asked"), [("parquet", ""), ("parquet", "bytes=9-"), ("csv", "bytes=9-")]
)
def test_a_download_without_room_for_its_file_says_so(
    tmp_path: Path, spool: Path, full_disk: None, format_: str, asked: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for part in range(9):  # Each is smaller than the limit.
        numbers = random.Random(part).choices(range(10**12), k=1_000)
        pl.DataFrame({"a": numbers}).write_csv(out / f"part-{part}.csv")
    sink = SinkOutput(
        node="out",
        path=str(out),
        format="csv",
        files=[f"part-{part}.csv" for part in range(9)],
        rows=9_000,
        bytes=1,
    )
    error = refused(sink, spool, format_, asked)
    assert (error.status, error.info.code) == (507, "MS-148")
    assert error.info.message.startswith(f"the master cannot prepare this download in {spool}")
    assert "File too large" in error.info.message
    assert list(spool.iterdir()) == []


def test_a_spool_directory_that_is_gone_is_no_lost_result(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "part-0.csv").write_text("a\n1\n")
    sink = SinkOutput(path=str(tmp_path), format="csv", files=["part-0.csv"], rows=1, bytes=4)
    spool.rmdir()
    assert refused(sink, spool, "parquet", "").info.code == "MS-148"


def test_a_result_that_cannot_be_read_says_so(tmp_path: Path, spool: Path) -> None:
    (tmp_path / "part-0.csv").write_text("a\n1\n")
    (tmp_path / "part-1.csv").mkdir()
    names = ["part-0.csv", "part-1.csv"]
    sink = SinkOutput(path=str(tmp_path), format="csv", files=names, rows=2, bytes=8)
    error = refused(sink, spool, "csv", "bytes=3-")
    assert (error.status, error.info.code) == (410, "MS-144")
    assert "part-1.csv cannot be read: Is a directory" in error.info.message


def test_a_block_that_goes_while_a_range_is_prepared_is_gone(tmp_path: Path, spool: Path) -> None:
    """The first block can be read, so that only the rest of the download fails."""
    frames = [pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})]
    keys = [TaskKey(JOB, 0, 0, number, 0) for number in range(2)]
    metas = [write_block(tmp_path, key, [frame]) for key, frame in zip(keys, frames, strict=True)]
    sources = tuple(
        BlockSource(key, 0, meta.partitions[0], host_identity(), str(tmp_path))
        for key, meta in zip(keys, metas, strict=True)
    )
    next(tmp_path.glob(f"{keys[1].block_id}*")).unlink()
    result = NodeBlocks(node="out", columns=("a",), rows=2, blocks=sources)
    error = refused(result, spool, "csv", "bytes=1-")
    assert (error.status, error.info.code) == (410, "MS-144")


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_an_output_directory_that_becomes_a_link_is_not_followed(
    tmp_path: Path, spool: Path, when: str
) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    for directory, row in ((root / "out", 1), (outside, 7)):
        directory.mkdir(parents=True)
        (directory / "part-0.csv").write_text(f"a\n{row}\n")

    def exchange() -> None:
        (root / "out").rename(root / "before")
        (root / "out").symlink_to(outside)

    def opened(format_: str) -> Iterator[bytes]:
        outcome, fetch = outcome_of(sink), FetchSettings()
        return open_stream(outcome, None, format_, fetch=fetch, root=root, spool=spool)

    sink = SinkOutput(path="out", format="csv", files=["part-0.csv"], rows=1, bytes=4)
    if when == "meanwhile":
        chunks = opened("csv")
        exchange()
        assert b"".join(chunks) == b"a\n1\n"
        return
    exchange()
    for format_ in ("csv", "parquet"):
        with pytest.raises(RefusedError, match="outside the data root") as caught:
            opened(format_)
        assert caught.value.status == 410
