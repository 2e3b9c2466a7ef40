"""The output of attempts, and the proof that an answer contains one version of each block."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from minispark.ids import TaskKey
from minispark.plan.stages import ReadMode
from minispark.scheduler.spec import JobSpec, StageSpec

_CACHED = -1

Place = tuple[int, int]
"""A stage and a partition."""


@dataclass(slots=True)
class Block:
    """The output of an attempt: its version stands for its rows.

    The version follows from the versions that were read and from ``salt``, which is 0 if a rerun
    gives the same rows. ``made_from`` has the version and salt of every direct or indirect input.
    """

    key: TaskKey
    version: int
    salt: int
    made_from: dict[Place, tuple[int, int]]
    torn: Place | None
    """A place of which it read two versions."""
    corrupt: bool = False


def make_block(key: TaskKey, read: Sequence[tuple[Block, int]], salt: int) -> Block:
    """Return the output of an attempt that has read these blocks, each with a partition."""
    made_from: dict[Place, tuple[int, int]] = {}
    torn = None
    for block, _ in read:
        torn = torn or block.torn
        for place, pair in block.made_from.items():
            if made_from.setdefault(place, pair)[0] != pair[0]:
                torn = torn or place
    version = _version(
        (key.stage, key.partition), salt, [(block.version, part) for block, part in read]
    )
    made_from[key.stage, key.partition] = (version, salt)
    return Block(key, version, salt, made_from, torn)


def _version(place: Place, salt: int, read: Iterable[tuple[int, int]]) -> int:
    # Hashes of tuples of integers are the same in every process.
    return hash((place, salt, *read))


def cached_block(spec: JobSpec, key: TaskKey) -> Block:
    """Return the output of a task without faults, as if an earlier job had cached it.

    Its inputs are not recorded: the stages before it may not run at all.
    """
    version = _true_version({stage.id: stage for stage in spec.stages}, key.stage, key.partition)
    return Block(key, version, _CACHED, {(key.stage, key.partition): (version, _CACHED)}, None)


def _true_version(stages: Mapping[int, StageSpec], stage: int, partition: int) -> int:
    read = inputs_of(stages[stage], stages, partition)
    true = [(_true_version(stages, *place), part) for place, part in read]
    return _version((stage, partition), 0, true)


def inputs_of(
    spec: StageSpec, stages: Mapping[int, StageSpec], partition: int
) -> list[tuple[Place, int]]:
    """Return the tasks whose blocks a task has to read, with the partition of each, in order."""
    reads: list[tuple[Place, int]] = []
    for branch in spec.branches:
        if partition >= branch.partitions:
            partition -= branch.partitions
            continue
        for edge in branch.inputs:
            if edge.mode is ReadMode.FORWARD:
                reads.append(((edge.stage, partition), 0))
                continue
            tasks = range(stages[edge.stage].partitions)
            reads += [((edge.stage, p), part) for part in edge.parts(partition) for p in tasks]
        break
    return reads


def check_whole(spec: JobSpec, output: Iterable[Block]) -> None:
    """Raise AssertionError unless one run of the job without faults could have given the blocks.

    All direct and indirect inputs have one version each, and each version follows from the versions
    of all blocks that its task has to read.
    """
    whole: dict[Place, tuple[int, int]] = {}
    for block in output:
        assert block.torn is None, f"{block.key} is made of two versions of {block.torn}"
        for place, pair in block.made_from.items():
            assert whole.setdefault(place, pair)[0] == pair[0], f"two versions of {place}"
    stages = {stage.id: stage for stage in spec.stages}
    for place, (version, salt) in whole.items():
        if salt == _CACHED:
            continue
        read = inputs_of(stages[place[0]], stages, place[1])
        assert all(source in whole for source, _ in read), f"{place} did not read all of its input"
        expected = _version(place, salt, [(whole[source][0], part) for source, part in read])
        assert version == expected, f"{place} is not made of what it had to read"
