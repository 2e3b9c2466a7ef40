"""A task may read a range of the partitions of each block, in place of the one of its number."""

from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter
from tests.scheduler.play import Play, gone, key

from minispark.blocks.meta import Receipt
from minispark.plan.stages import ReadMode, StageInput
from minispark.scheduler import snapshot
from minispark.scheduler.commands import BlockRef, FinishJob, JobStatus, LaunchTask
from minispark.scheduler.spec import JobSpec, StageBranch, StageSpec

RECEIPT = Receipt((5,) * 4, (50,) * 4)
Ranges = tuple[tuple[int, int], ...]


def merging(ranges: Ranges, *, readers: int = 2) -> JobSpec:
    """Two tasks that write some partitions each, and tasks that read ranges of these."""
    edge = StageInput("in", 0, ReadMode.PARTITION, ranges=ranges)
    reduce = StageSpec(1, (StageBranch(readers, (edge,)),), result=True)
    return JobSpec("j", (StageSpec(0, (StageBranch(2),)), reduce))


def launches(commands: list[object]) -> list[LaunchTask]:
    return [command for command in commands if isinstance(command, LaunchTask)]


def begun(play: Play) -> list[LaunchTask]:
    play.submit(merging(((0, 0), (1, 3))))
    play.done(key(0, 0), RECEIPT)
    return launches(list(play.done(key(0, 1), RECEIPT)))


def test_a_task_reads_its_range_of_every_block_one_partition_after_another() -> None:
    play = Play("w0", slots=4)
    first, second = begun(play)
    blocks = (key(0, 0), key(0, 1))
    assert first.inputs[0].blocks == tuple(BlockRef(block, "w0", 0) for block in blocks)
    assert second.inputs[0].blocks == tuple(
        BlockRef(block, "w0", part) for part in (1, 2, 3) for block in blocks
    )


def test_a_lost_block_is_made_again_for_all_its_partitions() -> None:
    play = Play("w0", slots=4)
    _, second = begun(play)
    (again,) = launches(list(play.failed(second.key, gone(key(0, 1)))))
    assert again.key == key(0, 1, 1)
    (reader,) = launches(list(play.done(again.key, RECEIPT)))
    assert reader.key == key(1, 1, 1)
    read = {(ref.key, ref.partition) for ref in reader.inputs[0].blocks}
    assert read == {(block, part) for block in (key(0, 0), key(0, 1, 1)) for part in (1, 2, 3)}


@pytest.mark.parametrize(
    "ranges", [((0, 0),), ((0, 1), (1, 3)), ((2, 3), (0, 1)), ((0, 1), (3, 2)), ((0, 0),) * 3]
)
def test_ranges_that_do_not_fit_end_the_job(ranges: Ranges) -> None:
    (finish,) = Play("w0").submit(merging(ranges))
    assert isinstance(finish, FinishJob)
    assert finish.status is JobStatus.FAILED
    assert "ranges of stage 0 that do not fit" in str(finish.failure)


def test_a_snapshot_keeps_ranges() -> None:
    play = Play("w0", slots=4)
    begun(play)
    state = play.scheduler.state
    assert snapshot.load(json.loads(json.dumps(snapshot.dump(state)))) == state


def test_a_job_that_the_first_release_wrote_is_read() -> None:
    """Its journals say ``read`` for the mode, and know no ranges."""
    written = {
        "job": "j",
        "stages": [
            {"id": 0, "branches": [{"partitions": 2, "inputs": []}]},
            {
                "id": 1,
                "branches": [
                    {
                        "partitions": 2,
                        "inputs": [{"leaf": "in", "stage": 0, "read": "partition"}],
                    }
                ],
                "label": "unordered",
                "result": True,
            },
        ],
    }
    adapter = TypeAdapter(JobSpec)
    spec = adapter.validate_python(written)
    assert spec.stages[1].branches[0].inputs == (StageInput("in", 0, ReadMode.PARTITION),)
    assert adapter.validate_json(json.dumps(written)) == spec
    assert adapter.validate_json(adapter.dump_json(spec)) == spec
