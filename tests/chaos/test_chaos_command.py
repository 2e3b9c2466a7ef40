"""``minispark chaos JOB.json``, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from tests.chaos.jobs import write_tables, written_job
from typer.testing import CliRunner

from minispark.cli.app import app
from minispark.plan.stages import (
    Branch,
    Label,
    Output,
    OutputKind,
    ResultSpec,
    Stage,
    StageGraph,
)
from minispark.testing.chaos.trial import Answer, differences


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A word count to files, in a place where nothing must be written."""
    folder = tmp_path_factory.mktemp("own")
    tables = write_tables(folder / "tables", seed=2, lines=20_000)
    path = folder / "job.json"
    payload = written_job(tables, 12, folder / "mine").payload
    assert not isinstance(payload, StageGraph)
    path.write_text(json.dumps(dict(payload)))
    return path


@pytest.mark.process
def test_the_answer_is_the_same_and_the_faults_are_listed(job: Path) -> None:
    done = CliRunner().invoke(app, ["chaos", str(job), "--seed", "7", "--faults", "3"])
    assert done.exit_code == 0, done.output
    assert "the same result: 2,999 rows" in done.output
    assert "seed 7" in done.output
    assert " %  " in done.stderr
    assert not (job.parent / "mine").exists()


def test_a_different_answer_is_reported() -> None:
    frame = pl.DataFrame({"word": ["a", "b", "c"], "n": [3, 2, 1]})
    loose, fixed = (_graph(label) for label in (Label.UNORDERED, Label.DETERMINATE))
    same = Answer({"out": frame}, {"out": ((3, 17),)})
    reversed_ = Answer({"out": frame.reverse()}, {"out": ((3, 17),)})
    other_receipt = Answer({"out": frame}, {"out": ((3, 18),)})
    other_rows = Answer({"out": frame.head(2)}, {"out": ((3, 17),)})
    assert differences(fixed, same, same) == []
    assert differences(loose, same, reversed_) == []
    assert len(differences(fixed, same, reversed_)) == 1
    assert "checksums" in differences(loose, same, other_receipt)[0]
    assert "out: " in differences(loose, same, other_rows)[0]
    texts = differences(_graph(Label.INDETERMINATE), same, other_rows)
    assert "may give other rows" in texts[-1]


def _graph(label: Label) -> StageGraph:
    stage = Stage(0, "only", (Branch(b"", 1),), Output(OutputKind.SINGLE), label)
    return StageGraph((stage,), (ResultSpec("out", 0, ("word", "n")),))
