"""Where a job may not write: where another does, and over what it reads, in any spelling."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from minispark.master.jobs.validation import check_graph, check_sinks, sink_directories
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ReadMode,
    SinkSpec,
    Stage,
    StageGraph,
    StageInput,
)
from minispark.settings import Limits, PlanSettings
from minispark.wire.http import RefusedError

LABEL = Label.DETERMINATE
OUTPUT = Output(OutputKind.SINGLE)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place with tables, among them one that is reached by other ways too."""
    monkeypatch.chdir(tmp_path)
    for name in ("in", "other"):
        (tmp_path / name).mkdir()
        pl.DataFrame({"a": [1]}).write_csv(tmp_path / name / "part-00000.csv")
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    (tmp_path / "other" / "one.csv").symlink_to(tmp_path / "in" / "part-00000.csv")
    return tmp_path


def job(source: str, target: str, *, overwrite: bool = True) -> StageGraph:
    settings = PlanSettings(single_task_bytes=0, parallelism=2)
    sink = SinkSpec("csv", target, overwrite)
    return plan_outputs([PlanOutput("out", pl.scan_csv(source), sink)], settings=settings)


def check(graph: StageGraph, root: Path | None, *busy: Path) -> None:
    check_sinks(graph, sink_directories(graph, root), busy=busy, data_root=root)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("{root}/in/part-00000.csv", "{root}/in"),
        ("{root}/in/*.csv", "{root}/in/"),
        ("{root}/in/*.csv", "{root}/other/../in"),
        ("{root}/in/*.csv", "{root}/alias"),
        ("{root}/alias/*.csv", "{root}/in"),
        ("{root}/other/one.csv", "{root}/in"),
        ("in/*.csv", "in"),
        ("in/*.csv", "{root}/in"),
        ("./other/one.csv", "alias"),
    ],
)
def test_no_job_overwrites_its_input(root: Path, source: str, target: str) -> None:
    graph = job(source.format(root=root), target.format(root=root))
    with pytest.raises(RefusedError) as refused:
        check(graph, None)
    assert refused.value.status == 422
    assert "would overwrite" in refused.value.info.message


def test_under_a_data_root_too(root: Path) -> None:
    graph = job("in/*.csv", "alias")
    elsewhere = root.parent
    with pytest.raises(RefusedError, match="would overwrite"):
        check(graph, root)
    # The same words under another root mean other files.
    (elsewhere / "root").mkdir()
    check(graph, elsewhere / "root")


def test_what_is_there_stays_unless_it_may_be_overwritten(root: Path) -> None:
    with pytest.raises(RefusedError) as refused:
        check(job("other/part-00000.csv", "in", overwrite=False), None)
    assert refused.value.status == 409
    check(job("other/part-00000.csv", "in"), None)


@pytest.mark.parametrize("spelled", ["out", "{root}/out", "in/../out", "alias/../out"])
def test_two_jobs_do_not_write_to_one_place(root: Path, spelled: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check(job("in/*.csv", spelled.format(root=root)), None, root / "out")
    assert refused.value.status == 409
    assert "another output" in refused.value.info.message


@pytest.mark.parametrize("rooted", [True, False])
@pytest.mark.parametrize("target", ["round", "dangling", "round/out", "in/part-00000.csv/out"])
def test_an_output_that_cannot_be_made_is_refused(root: Path, target: str, rooted: bool) -> None:
    (root / "round").symlink_to("round")
    (root / "dangling").symlink_to("nothing")
    graph = job("other/part-00000.csv", target)
    with pytest.raises(RefusedError) as refused:
        check(graph, root if rooted else None)
    assert refused.value.status in (409, 422)
    assert refused.value.info.code in ("MS-120", "MS-123")


def test_an_input_that_is_a_circle_of_links_meanwhile_is_no_fault_of_ours(root: Path) -> None:
    graph = job("other/part-00000.csv", "out")
    (root / "other" / "part-00000.csv").unlink()
    (root / "other" / "part-00000.csv").symlink_to("part-00000.csv")
    check(graph, None)


@pytest.mark.parametrize("ranges", [(), ((0, 0), (1, 2)), ((0, 1), (1, 1)), ((0, 2**62), (0, 0))])
def test_partitions_that_a_stage_does_not_have_are_refused(
    ranges: tuple[tuple[int, int], ...],
) -> None:
    """A client may send any plan; the master would look for the block of such a partition."""
    partitions = 2 if ranges else 1
    entry = StageInput("in", 0, ReadMode.PARTITION, ranges=ranges)
    graph = StageGraph(
        stages=(
            Stage(0, "map", (Branch(b"", 1),), Output(OutputKind.HASH, partitions), LABEL),
            Stage(1, "reduce", (Branch(b"", 2, inputs=(entry,)),), OUTPUT, LABEL),
        ),
        results=(),
    )
    with pytest.raises(RefusedError, match="partitions that stage 0 does not have"):
        check_graph(graph, limits=Limits(), plan=PlanSettings())
