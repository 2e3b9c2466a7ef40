"""A plan as something to look at: text on a terminal, a picture in a notebook."""

from __future__ import annotations

import html
from dataclasses import dataclass

from minispark.plan.explain import render, render_mermaid
from minispark.plan.picture import draw
from minispark.plan.stages import StageGraph


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """What would run, and how it would be cut. Looking at it runs nothing."""

    graph: StageGraph

    def __str__(self) -> str:
        return render(self.graph)

    __repr__ = __str__

    @property
    def mermaid(self) -> str:
        """The stages as a Mermaid flow chart."""
        return render_mermaid(self.graph)

    def _repr_html_(self) -> str:
        text = html.escape(render(self.graph))
        return (
            f"<div>{draw(self.graph)}</div>"
            f"<details><summary>logical plan, stages and what was pushed down</summary>"
            f"<pre>{text}</pre></details>"
        )
