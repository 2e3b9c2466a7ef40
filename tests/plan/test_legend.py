"""The legend of `explain`, and the picture of a plan in a notebook."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest

from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.explain import Explanation, render, render_stages
from minispark.plan.legend import legend
from minispark.plan.stages import StageGraph
from minispark.settings import PlanSettings

GOLDEN = sorted((Path(__file__).parent.parent / "golden" / "plans").glob("*.txt"))
SVG = "{http://www.w3.org/2000/svg}"


def words(plan: str) -> set[str]:
    return {line.split("  ")[1] for line in legend(plan).splitlines()}


@pytest.fixture
def joined(tmp_path: Path) -> StageGraph:
    large, small = tmp_path / "large.parquet", tmp_path / "<small>.parquet"
    pl.DataFrame({"<k>": [1, 2], "v": [3, 4]}).write_parquet(large)
    pl.DataFrame({"<k>": [1], "w": [5]}).write_parquet(small)
    query = pl.scan_parquet(large).join(pl.scan_parquet(small), on="<k>").group_by("<k>").len()
    query = query.select(pl.col("len").max())
    settings = PlanSettings(parallelism=3, single_task_bytes=0)
    return plan_outputs([PlanOutput("out", query)], settings=settings, describe=True)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_only_words_that_occur_are_explained(path: Path) -> None:
    plan = path.read_text()
    explained = words(plan)
    assert "task" in explained
    for word in ("determinate", "unordered", "indeterminate"):
        assert (word in explained) == bool(re.search(rf", {word}$", plan, re.MULTILINE))
    for word in ("pushed", "cached", "whole"):
        assert (word in explained) == (f"  {word}: " in plan)
    assert ("shuffle" in explained) == bool(re.search(" shuffle by (?!ranges of)", plan))
    assert ("shuffle by ranges" in explained) == (" shuffle by ranges of " in plan)
    for word in ("all of", "its partition of", "the same partition of"):
        assert (word in explained) == (f" {word} " in plan)


def test_a_name_of_the_user_is_no_word_of_a_plan() -> None:
    assert words("stage 0 (result): 1 task, determinate\n  nodes:  shuffle, pushed, whole:  x") == {
        "task",
        "determinate",
    }


def test_the_legend_is_below_the_stages(joined: StageGraph) -> None:
    text = render(joined)
    stages = render_stages(joined)
    assert text.startswith("Logical plan\n")
    assert text.endswith(f"{stages}\n\nWords\n{legend(stages)}")


def test_arrows_have_heads_and_name_the_exchange(joined: StageGraph) -> None:
    page = Explanation(joined)._repr_html_()
    picture = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])  # noqa: S314
    arrows, heads = picture.findall(f"{SVG}line"), picture.findall(f"{SVG}path")
    labels = [text[0].text for text in picture.findall(f"{SVG}text")]
    assert len(arrows) == len(heads) == len(labels) == sum(len(s.readers) for s in joined.stages)
    assert labels == ["broadcast to 3", "shuffle by <k> → 3", "gather"]
    ends = [f"translate({arrow.get('x2')} {arrow.get('y2')})" for arrow in arrows]
    assert [str(head.get("transform")).partition(" rotate")[0] for head in heads] == ends
