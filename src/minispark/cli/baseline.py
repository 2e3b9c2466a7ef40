"""One warm plain Polars process to compare with, on the same machine and as many threads.

A process of its own, because the number of Polars' threads is fixed when Polars is imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self


class PlainPolars:
    """The process `plain_polars`, seen from its parent; a context manager."""

    def __init__(self, *, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "minispark.cli.plain_polars"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"POLARS_MAX_THREADS": str(threads)},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The end of its input ends it.
        self._process.communicate()

    def run(self, query: str, *paths: Path, output: Path | None = None) -> float:
        """Run a query of `plain_polars.QUERIES` once; return how many seconds it took."""
        request = {"query": query, "paths": [str(path) for path in paths]}
        if output is not None:
            request["output"] = str(output)
        pipes = self._process.stdin, self._process.stdout
        if pipes[0] is None or pipes[1] is None:
            raise RuntimeError
        pipes[0].write(json.dumps(request) + "\n")
        pipes[0].flush()
        answer = pipes[1].readline()
        if not answer:
            msg = "the plain Polars process ended early; what it said stands above"
            raise RuntimeError(msg)
        return float(json.loads(answer)["seconds"])
