"""Publishing the files of a job with several outputs: all of them, or none."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from minispark.errors import UsageError
from minispark.ids import TaskKey
from minispark.journal.commits import publish
from minispark.journal.rows import Manifest
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.stages import SinkSpec
from minispark.task import sinks


def test_if_one_output_cannot_be_published_none_is(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2]})
    specs = [SinkSpec("csv", str(tmp_path / name)) for name in ("one", "two")]
    graph = plan_outputs(
        [PlanOutput(spec.path[-3:], frame.lazy(), spec) for spec in specs],
    )
    stages = [stage for stage in graph.stages if stage.output.sink is not None]
    manifests = []
    for stage in stages:
        assert stage.output.sink is not None
        key = TaskKey("job-a-1-1", stage.id, 0, 0, 0)
        file = sinks.write_part(frame, stage.output.sink, key=key, data_root=None)
        assert file is not None
        directory = stage.output.sink.path
        manifests.append(
            Manifest(stage=stage.id, directory=directory, overwrite=False, files=[file])
        )
    stranger = Path(manifests[1].directory) / "part-00000.csv"
    stranger.write_text("mine")
    with pytest.raises(UsageError, match="appeared while the job ran"):
        publish("job-a-1-1", graph, manifests, root=None)
    # A master that ended before it had told so tries again: that must not bring half of it.
    with pytest.raises(FileNotFoundError, match="was not published"):
        publish("job-a-1-1", graph, manifests, root=None)
    assert stranger.read_text() == "mine"
    first = Path(manifests[0].directory)
    assert [path.name for path in first.iterdir() if path.is_file()] == []
