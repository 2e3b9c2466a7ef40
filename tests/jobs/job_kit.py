"""Jobs in a line, and what is wrong with them."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from minispark.errors import ErrorInfo, UsageError
from minispark.jobs import compile_job, parse_job

Node = dict[str, Any]


def chain(*nodes: Node, **job: Any) -> dict[str, Any]:
    """A job in which each node reads the one before."""
    edges = [[a["id"], b["id"]] for a, b in pairwise(nodes)]
    return {"dag": {"nodes": list(nodes), "edges": edges}, **job}


def fan_in(node: Node, *sources: Node) -> dict[str, Any]:
    """A job in which a node reads all the others, in that order."""
    edges = [[source["id"], node["id"]] for source in sources]
    return {"dag": {"nodes": [*sources, node], "edges": edges}}


def refused(job: object, root: Path | None = None) -> ErrorInfo:
    """Return what is wrong with a job."""
    with pytest.raises(UsageError) as caught:
        compile_job(parse_job(job), data_root=root)
    assert "\n" not in caught.value.info.message
    assert str(caught.value) == caught.value.info.message
    return caught.value.info
