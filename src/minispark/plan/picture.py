"""Draws the stages of a plan as SVG: one row of boxes per depth, arrows for what moves between.

Pure text in, text out; for a dozen stages, not for hundreds. Colours come from the page
(``currentColor``), so it is right on light and dark ones.
"""

from __future__ import annotations

import html
import math
from collections import defaultdict
from dataclasses import dataclass

from minispark.formatting import many
from minispark.plan.exchanges import describe_move
from minispark.plan.stages import Stage, StageGraph

_WIDTH, _HEIGHT = 250, 46
_GAP_X, _GAP_Y = 24, 42
_CHARS = 34
"""What fits into a box."""


@dataclass(frozen=True, slots=True)
class _Box:
    x: int
    y: int
    stage: Stage


def draw(graph: StageGraph) -> str:
    """Return the stages as an SVG element."""
    boxes = _placed(graph)
    width = max((box.x for box in boxes.values()), default=0) + _WIDTH + 1
    height = max((box.y for box in boxes.values()), default=0) + _HEIGHT + 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="stages of the plan" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="currentColor" style="overflow:visible">'
    ]
    for box in boxes.values():
        for entry, readers in box.stage.readers:
            start = boxes[entry.stage]
            move = describe_move(start.stage.output, entry.mode, readers=readers)
            parts.append(_arrow(start, box, move))
    parts += [_drawn(box) for box in boxes.values()]
    return "".join([*parts, "</svg>"])


def _placed(graph: StageGraph) -> dict[int, _Box]:
    depth: dict[int, int] = {}
    rows: dict[int, int] = defaultdict(int)
    boxes: dict[int, _Box] = {}
    for stage in graph.stages:
        reads = [entry.stage for branch in stage.branches for entry in branch.inputs]
        row = depth[stage.id] = 1 + max((depth[below] for below in reads), default=-1)
        boxes[stage.id] = _Box(rows[row] * (_WIDTH + _GAP_X), row * (_HEIGHT + _GAP_Y), stage)
        rows[row] += 1
    return boxes


def _drawn(box: _Box) -> str:
    stage = box.stage
    tasks = many(stage.partitions, "task")
    title = f"stage {stage.id}: {' '.join(stage.nodes) or stage.name}"
    return (
        f'<g transform="translate({box.x} {box.y})"><title>{html.escape(title)}</title>'
        f'<rect x="0.5" y="0.5" width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="none" '
        f'stroke="currentColor"/>'
        f'<text x="10" y="19" font-weight="bold">{html.escape(_short(title))}</text>'
        f'<text x="10" y="36" opacity="0.75">{tasks}, {stage.label}</text></g>'
    )


def _arrow(start: _Box, end: _Box, label: str) -> str:
    x1, y1 = start.x + _WIDTH // 2, start.y + _HEIGHT
    x2, y2 = end.x + _WIDTH // 2, end.y
    angle = math.degrees(math.atan2(y2 - y1, x2 - x1))
    return (
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor" opacity="0.5"/>'
        f'<path d="M0 0L-9 -4L-9 4Z" transform="translate({x2} {y2}) rotate({angle:.1f})" '
        f'opacity="0.7"/>'
        f'<text x="{(x1 + x2) // 2 + 6}" y="{(y1 + y2) // 2 + 4}" font-size="10" '
        f'opacity="0.75"><title>{html.escape(label)}</title>{html.escape(_short(label))}</text>'
    )


def _short(text: str) -> str:
    return text if len(text) <= _CHARS else f"{text[: _CHARS - 1]}…"
