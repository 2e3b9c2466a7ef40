"""Mini-Spark as an engine of Polars; the only module that knows Polars' engine interface.

Polars marks that interface as unstable, so all other code goes through `Engine.collect`.
"""

from __future__ import annotations

import html
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any, NoReturn

import polars as pl
import polars.lazyframe.engine

from minispark.engines.base import Runner
from minispark.engines.cluster import ClusterRunner
from minispark.engines.in_process import WHOLE_BYTES, collect_whole, fits_whole
from minispark.engines.local import LocalRunner
from minispark.engines.progress import ProgressLine, Show
from minispark.errors import MinisparkError, UnsupportedError
from minispark.observe.cards import workers_table
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.explain import Explanation
from minispark.settings import PlanSettings

_RESULT = "result"
_SINK_INSTEAD = 'collect(engine=engine) and write the frame, or say engine="streaming"'

_SLICES = "collect(engine=engine).iter_slices()"

_inside = threading.local()
_main_lock = threading.RLock()


def _refuse(method: str, instead: str) -> NoReturn:
    msg = f"{method} does not run on the Mini-Spark engine yet"
    raise UnsupportedError(msg, hint=f"What works: {instead}.")


def _not_built(method: str, instead: str) -> Any:
    def refuse(_self: object, *_: Any, **__: Any) -> NoReturn:
        _refuse(method, instead)

    return refuse


class Engine(polars.lazyframe.engine.Engine):
    """Runs Polars queries on processes of this machine, or on a cluster.

    ``lf.collect(engine=engine)`` gives what ``lf.collect()`` gives: the same columns, dtypes and
    rows, in the same order if Polars promises one. ``pl.Config.set_engine_affinity(engine)``
    sends every query there, SQL included.

    On the embedded engine, a query that reads less than ``whole_bytes`` and has no Python
    functions runs in this process, unless ``processes=True``.

    Parameters
    ----------
    url
        The master of a cluster; None means the embedded engine.
    token
        The cluster's token; None searches for it as the command line does.
    progress
        Whether to show a progress line; ``"auto"`` shows it on a terminal and in a notebook.
    parallelism
        Number of partitions; None chooses it from the size of the input.
    processes
        Run small queries in processes too.
    whole_bytes
        A query that reads fewer bytes is small.

    Examples
    --------
    >>> import minispark as ms
    >>> import polars as pl
    >>> frame = pl.LazyFrame({"word": ["a", "b", "a"]})
    >>> frame.group_by("word").len().sort("word").collect(engine=ms.Engine()).rows()
    [('a', 2), ('b', 1)]
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        progress: Show = "auto",
        parallelism: int | None = None,
        processes: bool = False,
        whole_bytes: int = WHOLE_BYTES,
    ) -> None:
        self._url = url
        self._progress = progress
        self._settings = PlanSettings(parallelism=parallelism)
        self._whole_bytes = 0 if processes or url is not None else whole_bytes
        self._cluster = None if url is None else ClusterRunner(url, token)
        if self._cluster is not None:
            weakref.finalize(self, self._cluster.close)

    @property
    def name(self) -> str:
        """The name of this engine in Polars' messages."""
        return "minispark"

    @property
    def plan_engine(self) -> str:
        """The engine of Polars whose plans this engine takes."""
        return "streaming"

    def __repr__(self) -> str:
        return f"minispark.Engine({self._url!r})" if self._url else "minispark.Engine()"

    def _repr_html_(self) -> str:
        if self._url is None:
            return "<b>Mini-Spark engine</b>, embedded: processes of this machine"
        url = html.escape(self._url, quote=True)
        return f'<b>Mini-Spark engine</b> on <a href="{url}">{url}</a>{self._workers_html()}'

    def _workers_html(self) -> str:
        """Return the workers of the cluster as HTML, or why the cluster does not answer."""
        if self._cluster is None:
            return ""
        try:
            workers = self._cluster.client.workers()
        except MinisparkError as error:
            return f"<br>{html.escape(error.info.message)}"
        return workers_table(workers)

    def explain(self, lf: pl.LazyFrame) -> Explanation:
        """Return the stages, exchanges, labels and pushed-down nodes of a query. Nothing runs.

        Examples
        --------
        >>> import minispark as ms
        >>> import polars as pl
        >>> print(ms.Engine().explain(pl.LazyFrame({"n": [1]})).mermaid.splitlines()[0])
        flowchart TD
        """
        with _marked_inside(), _main_hidden():
            outputs = [PlanOutput(_RESULT, lf)]
            return Explanation(plan_outputs(outputs, settings=self._settings, describe=True))

    def collect(  # type: ignore[override] # background=True is refused
        self,
        lf: pl.LazyFrame,
        *,
        optimizations: pl.QueryOptFlags,
        background: bool = False,
        post_opt_callback: Any = None,
    ) -> pl.DataFrame:
        """Run a query and return its rows.

        ``optimizations`` apply to every stage of the plan.

        Raises
        ------
        UnsupportedError
            ``background`` or ``post_opt_callback`` is given.
        JobFailedError, JobCancelledError
            The query did not succeed. A JobFailedError is also of the class that Polars raises.
        """
        if background:
            _refuse("collect(background=True)", "collect in a thread of your own")
        if post_opt_callback is not None:
            _refuse("a callback after optimization", 'collect(engine="streaming")')
        if getattr(_inside, "engine", False):
            return collect_whole(lf, optimizations=optimizations)
        with _marked_inside():
            return self._collect(lf, optimizations)

    def _collect(self, lf: pl.LazyFrame, optimizations: pl.QueryOptFlags) -> pl.DataFrame:
        try:
            with _main_hidden():
                graph = plan_outputs(
                    [PlanOutput(_RESULT, lf)], settings=self._settings, optimizations=optimizations
                )
        except UnsupportedError:
            # A query that cannot leave this process can still run in it.
            if self._cluster is not None:
                raise
            return collect_whole(lf, optimizations=optimizations)
        if fits_whole(graph, limit_bytes=self._whole_bytes):
            return collect_whole(lf, optimizations=optimizations)
        with ProgressLine(self._progress) as line:
            outcome = self._runner().run(graph, name="query", progress=line.listener)
            line.summarise(outcome)
        return outcome.frame(_RESULT)

    def _runner(self) -> Runner:
        return self._cluster or _embedded(os.getpid())

    execute = _not_built("execute", "collect(engine=engine)")
    collect_async = _not_built("collect_async", "asyncio.to_thread(lf.collect, engine=engine)")
    collect_batches = _not_built("collect_batches", _SLICES)
    collect_all = _not_built("collect_all", "collect(engine=engine) for each query")
    collect_all_async = _not_built(
        "collect_all_async", "asyncio.to_thread(lf.collect, engine=engine) for each query"
    )
    sink_parquet = _not_built("sink_parquet", _SINK_INSTEAD)
    sink_ipc = _not_built("sink_ipc", _SINK_INSTEAD)
    sink_csv = _not_built("sink_csv", _SINK_INSTEAD)
    sink_ndjson = _not_built("sink_ndjson", _SINK_INSTEAD)
    sink_batches = _not_built("sink_batches", _SLICES)


@cache
def _embedded(_pid: int) -> LocalRunner:
    """Return the runner of all engines in this process; a forked child gets a runner of its own."""
    return LocalRunner()


@contextmanager
def _marked_inside() -> Iterator[None]:
    """Run the queries that planning itself collects in Polars, if this engine is the default."""
    _inside.engine = True
    try:
        yield
    finally:
        _inside.engine = False


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Pickle functions and classes of ``__main__`` by value within the block.

    Polars pickles a function by reference if it can, else by value with cloudpickle. A function of
    the user's script is importable as ``__main__.name``, but another process has another
    ``__main__``. While the module is hidden, its functions are pickled by value.
    """
    with _main_lock:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main
