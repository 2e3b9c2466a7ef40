"""Mini-Spark as an engine of Polars; the only module that knows Polars' engine interface.

Polars marks that interface as unstable, so all other code goes through `Engine.collect`.
"""

from __future__ import annotations

import copy
import html
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import polars as pl
import polars.lazyframe.engine
from polars._utils.async_ import _AioDataFrameResult, _GeventDataFrameResult
from polars._utils.unstable import issue_unstable_warning
from polars.lazyframe.query_result import QueryResult, SingleNodeQueryResult

from minispark.engines.background import BackgroundQuery, Cancellation, in_background
from minispark.engines.public import public
from minispark.engines.staging import staged, with_final_paths
from minispark.engines.whole import Choice, choose, collect_whole, fits_whole, whole_limit
from minispark.errors import MinisparkError, UnsupportedError
from minispark.observe.cards import workers_table
from minispark.plan.build import PlanOutput, plan_outputs
from minispark.plan.explain import Explanation
from minispark.plan.query_name import MAX_NAME, query_name
from minispark.plan.stages import StageGraph
from minispark.plan.stored import EMBEDDED, sent_by
from minispark.settings import LARGE_BYTES, PlanSettings

# What runs a query in other processes is imported when a query needs it: it takes longer to import
# than most queries run.
if TYPE_CHECKING:
    from minispark.engines.base import JobOutcome, Runner
    from minispark.engines.cluster import ClusterRunner
    from minispark.engines.local import LocalRunner
    from minispark.engines.profile import Profile
    from minispark.engines.progress import Show

_STREAMING = pl.StreamingEngine()
"""What runs in this process. It is named explicitly: Polars' default engine may be ours."""

_inside = threading.local()
_main_lock = threading.RLock()


class Engine(polars.lazyframe.engine.Engine):
    """Runs Polars queries on processes of this machine, or on a cluster.

    ``lf.collect(engine=engine)`` gives what ``lf.collect()`` gives: the same columns, dtypes and
    rows, in the same order if Polars promises one. ``pl.Config.set_engine_affinity(engine)``
    sends every query there, SQL included.

    On the embedded engine, a query that reads less than ``whole_bytes`` runs in this process,
    unless ``processes=True``. With Python functions it must read so little that it is one task.

    Parameters
    ----------
    url
        The master of a cluster; None means the embedded engine.
    fallback
        What happens when an operator that is not split would gather a large input in one task:
        ``"silent"`` gathers it, ``"warn"`` gathers it with a PerformanceWarning of Polars,
        ``"raise"`` raises a UsageError.
    token
        The cluster's token; None searches for it as the command line does.
    progress
        Whether to show a progress line; ``"auto"`` shows it on a terminal and in a notebook.
    parallelism
        Number of partitions; None chooses it from the size of the input.
    processes
        Run small queries in several processes too.
    whole_bytes
        A query whose files have fewer bytes is small; None is an eighth of the free memory, and
        at least 256 MiB.
    large_bytes
        An input of at least this size is large.

    Examples
    --------
    >>> import minispark as ms
    >>> import polars as pl
    >>> frame = pl.LazyFrame({"word": ["a", "b", "a"]})
    >>> frame.group_by("word").len().sort("word").collect(engine=ms.Engine()).rows()
    [('a', 2), ('b', 1)]
    """

    @public
    def __init__(
        self,
        url: str | None = None,
        *,
        fallback: Literal["silent", "warn", "raise"] = "silent",
        token: str | None = None,
        progress: Show = "auto",
        parallelism: int | None = None,
        processes: bool = False,
        whole_bytes: int | None = None,
        large_bytes: int = LARGE_BYTES,
    ) -> None:
        self._job_name: str | None = None
        self._progress = progress
        self._settings = PlanSettings(
            parallelism=parallelism, fallback=fallback, large_bytes=large_bytes
        )
        self._whole_bytes = 0 if processes or url is not None else whole_bytes
        self._cluster = None if url is None else _cluster(url, token)
        self._url = None if self._cluster is None else self._cluster.client.url
        self._origin: Engine | None = None
        """The engine that closes the connection at its end: one that is used must not end."""
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

    def named(self, name: str, *, sql: str | None = None) -> Engine:
        """Return this engine with a name for its queries, which people see in lists of jobs.

        Without one, a query is called after the first file that it reads. ``sql`` is the text of
        the queries: a cluster keeps it with the job, to be downloaded.

        Examples
        --------
        >>> import minispark as ms
        >>> import polars as pl
        >>> pl.LazyFrame({"n": [1]}).collect(engine=ms.Engine().named("daily sales")).item()
        1
        """
        engine = copy.copy(self)
        engine._job_name = name[:MAX_NAME]
        engine._origin = self
        if sql is not None and engine._cluster is not None:
            engine._cluster = engine._cluster.for_sql(sql)
        return engine

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

    @public
    def explain(self, lf: pl.LazyFrame) -> Explanation:
        """Return the stages, exchanges, labels and pushed-down nodes of a query. Nothing runs.

        Examples
        --------
        >>> import minispark as ms
        >>> import polars as pl
        >>> print(ms.Engine().explain(pl.LazyFrame({"n": [1]})).mermaid.splitlines()[0])
        flowchart TD
        """
        with _marked_inside(), sent_by(self._home), _main_hidden():
            outputs = [PlanOutput(_name(0), lf)]
            settings = replace(self._settings, fallback="silent")
            graph = plan_outputs(outputs, settings=settings, describe=True)
            if self._cluster is not None:
                return Explanation(graph)
            return Explanation(graph, str(self._choose([lf])))

    @public
    def profile(self, lf: pl.LazyFrame, *, count: bool = True) -> Profile:
        """Run a query, also a small one, as a job and return its rows and where they took time.

        The table of the result has the rows of each node of the query, and rows, bytes, times,
        memory, spilled bytes and skew of each stage.

        Parameters
        ----------
        lf
            The query.
        count
            Count the rows of every node. Filters and limits do not pass the counters, so the plan
            may read more than it does without them; ``count=False`` runs the plan as it is, and the
            table has stages only.

        Examples
        --------
        >>> import minispark as ms
        >>> import polars as pl
        >>> query = pl.LazyFrame({"n": [1, 2, 3]}).filter(pl.col.n > 1)
        >>> profile = ms.Engine().profile(query)
        >>> profile.table.filter(kind="node").select("name", "rows_out").rows()
        [('1 DataFrame n', 3), ('2 filter n > 1', 2)]
        """
        with _marked_inside(), sent_by(self._home), _main_hidden():
            outputs = [PlanOutput(_name(0), lf)]
            graph = plan_outputs(outputs, settings=self._settings, count=count)
        from minispark.engines.profile import Profile

        return Profile(self._run(graph))

    @public
    def collect(
        self,
        lf: pl.LazyFrame,
        *,
        optimizations: pl.QueryOptFlags,
        background: bool = False,
        post_opt_callback: Any = None,
    ) -> Any:
        """Run a query and return its rows; with ``background`` a query that runs in a thread.

        ``optimizations`` apply to every stage of the plan.

        Raises
        ------
        UnsupportedError
            ``post_opt_callback`` is given, and the query would run on a cluster: no process there
            has the whole plan that the callback is to see.
        JobFailedError, JobCancelledError
            The query did not succeed. A JobFailedError is also of the class that Polars raises.
        """
        if not background:
            if post_opt_callback is not None:
                return self._collect_with(post_opt_callback, lf, optimizations)
            return self._collect([lf], optimizations)[0]
        issue_unstable_warning("background mode is considered unstable.")
        cancellation = Cancellation()
        run = partial(self._collect, [lf], optimizations, progress=False, cancellation=cancellation)
        return BackgroundQuery(lambda: run()[0], cancellation)

    def _collect_with(
        self, callback: Any, lf: pl.LazyFrame, optimizations: pl.QueryOptFlags
    ) -> pl.DataFrame:
        """Run a query whole in this process, where a callback sees and changes its plan."""
        if self._cluster is not None:
            msg = "a callback after optimization does not run on a cluster"
            raise UnsupportedError(msg, hint='What works: collect(engine="in-memory").')
        engine = pl.InMemoryEngine()
        return engine.collect(lf, optimizations=optimizations, post_opt_callback=callback)

    @public
    def collect_all(
        self, lfs: Iterable[pl.LazyFrame], *, optimizations: pl.QueryOptFlags
    ) -> list[pl.DataFrame]:
        """Run several queries as one job and return their rows; what they share runs once."""
        return self._collect(list(lfs), optimizations)

    def collect_async(
        self, lf: pl.LazyFrame, *, optimizations: pl.QueryOptFlags, gevent: bool = False
    ) -> Any:
        """Run a query in a thread and return an awaitable of its rows."""
        result = _async_result(gevent=gevent)
        run = partial(self._collect, [lf], optimizations, progress=False)
        in_background(run, lambda frames: _answer(result._callback, _first(frames)))
        return result

    def collect_all_async(
        self, lfs: Iterable[pl.LazyFrame], *, optimizations: pl.QueryOptFlags, gevent: bool = False
    ) -> Any:
        """Run several queries as one job in a thread and return an awaitable of their rows."""
        result = _async_result(gevent=gevent)
        run = partial(self._collect, list(lfs), optimizations, progress=False)
        in_background(run, lambda frames: _answer(result._callback_all, _inner(frames)))
        return result

    @public
    def execute(self, lf: pl.LazyFrame, *, optimizations: pl.QueryOptFlags) -> QueryResult:
        """Run a query and return its result, which stays where it is until it is read."""
        outcome = self._outcome([lf], optimizations, keep=True)
        if outcome is None:
            rows = collect_whole(lf, optimizations=optimizations)
            return SingleNodeQueryResult(rows)
        from minispark.engines.query_result import StoredResult

        return StoredResult(outcome, _name(0))

    @public
    def collect_batches(
        self, lf: pl.LazyFrame, *, optimizations: pl.QueryOptFlags, **options: Any
    ) -> Any:
        """Run a query and return an iterator over its rows in batches."""
        rows = self._rows(lf, optimizations)
        return _STREAMING.collect_batches(rows, optimizations=optimizations, **options)

    @public
    def sink_batches(
        self,
        lf: pl.LazyFrame,
        function: Callable[[pl.DataFrame], bool | None],
        *,
        optimizations: pl.QueryOptFlags,
        **options: Any,
    ) -> None:
        """Run a query and call ``function`` with its rows in batches, in this process."""
        rows = self._rows(lf, optimizations)
        _STREAMING.sink_batches(rows, function, optimizations=optimizations, **options)

    @public
    def sink_parquet(self, lf: pl.LazyFrame, path: Any, **options: Any) -> None:
        """Run a query and write its rows, as `polars.LazyFrame.sink_parquet` does."""
        self._sink(_STREAMING.sink_parquet, lf, path, **options)

    @public
    def sink_ipc(self, lf: pl.LazyFrame, path: Any, **options: Any) -> None:
        """Run a query and write its rows, as `polars.LazyFrame.sink_ipc` does."""
        self._sink(_STREAMING.sink_ipc, lf, path, **options)

    @public
    def sink_csv(self, lf: pl.LazyFrame, path: Any, **options: Any) -> None:
        """Run a query and write its rows, as `polars.LazyFrame.sink_csv` does."""
        self._sink(_STREAMING.sink_csv, lf, path, **options)

    @public
    def sink_ndjson(self, lf: pl.LazyFrame, path: Any, **options: Any) -> None:
        """Run a query and write its rows, as `polars.LazyFrame.sink_ndjson` does."""
        self._sink(_STREAMING.sink_ndjson, lf, path, **options)

    def _sink(
        self, write: Callable[..., None], lf: pl.LazyFrame, path: Any, **options: Any
    ) -> None:
        """Write the rows from this process: Polars' own writers know all the options."""
        rows = self._rows(lf, options["optimizations"])
        with staged(path, mkdir=options["mkdir"]) as (place, final):
            if options.get("sinked_paths_callback") is not None:
                callback = options["sinked_paths_callback"]
                options["sinked_paths_callback"] = with_final_paths(callback, final)
            write(rows, place, **options)

    def _rows(self, lf: pl.LazyFrame, optimizations: pl.QueryOptFlags) -> pl.LazyFrame:
        """Return the query itself if it is to run in this process, else its result."""
        outcome = self._outcome([lf], optimizations)
        return lf if outcome is None else outcome.scan(_name(0))

    def _collect(
        self,
        frames: Sequence[pl.LazyFrame],
        optimizations: pl.QueryOptFlags,
        *,
        progress: Show | None = None,
        cancellation: Cancellation | None = None,
    ) -> list[pl.DataFrame]:
        outcome = self._outcome(frames, optimizations, progress=progress, cancellation=cancellation)
        if outcome is not None:
            return [outcome.frame(_name(number)) for number in range(len(frames))]
        if cancellation is not None:
            query = _STREAMING.collect(frames[0], optimizations=optimizations, background=True)
            cancellation.started(query.cancel)
            return [query.fetch_blocking()]
        if len(frames) == 1:
            return [collect_whole(frames[0], optimizations=optimizations)]
        return _STREAMING.collect_all(frames, optimizations=optimizations)

    def _outcome(
        self,
        frames: Sequence[pl.LazyFrame],
        optimizations: pl.QueryOptFlags,
        *,
        progress: Show | None = None,
        cancellation: Cancellation | None = None,
        keep: bool = False,
    ) -> JobOutcome | None:
        """Run queries as one job; return None if they must run whole in this process."""
        if not frames or getattr(_inside, "engine", False):
            return None
        with _marked_inside(), sent_by(self._home):
            # What would be gathered is seen in the plan only.
            silent, cancellable = self._settings.fallback == "silent", cancellation is not None
            if silent and self._choose(frames, cancellable=cancellable).whole:
                return None
            graph = self._plan(frames, optimizations)
            limit = self._limit_bytes()
            if graph is None or fits_whole(graph, limit_bytes=limit, cancellable=cancellable):
                return None
            return self._run(graph, progress=progress, cancellation=cancellation, keep=keep)

    def _run(
        self,
        graph: StageGraph,
        *,
        progress: Show | None = None,
        cancellation: Cancellation | None = None,
        keep: bool = False,
    ) -> JobOutcome:
        """Run a plan as one job; with ``keep``, other jobs may read its results."""
        from minispark.engines.progress import ProgressLine

        runner, name = self._runner(), self._job_name or query_name(graph)

        def started(job_id: str) -> None:
            if cancellation is not None:
                cancellation.started(partial(runner.cancel, job_id))

        with ProgressLine(self._progress if progress is None else progress) as line:
            outcome = runner.run(
                graph, name=name, progress=line.listener, started=started, keep=keep
            )
            line.summarise(outcome)
        return outcome

    def _plan(
        self, frames: Sequence[pl.LazyFrame], optimizations: pl.QueryOptFlags
    ) -> StageGraph | None:
        outputs = [PlanOutput(_name(number), frame) for number, frame in enumerate(frames)]
        try:
            with _main_hidden():
                return plan_outputs(outputs, settings=self._settings, optimizations=optimizations)
        except UnsupportedError:
            # A query that cannot leave this process can still run in it.
            if self._cluster is not None:
                raise
            return None

    def _choose(self, frames: Sequence[pl.LazyFrame], *, cancellable: bool = False) -> Choice:
        """Choose where queries run; nothing ends a Python function in this process."""
        settings = self._settings
        alone = settings.parallelism is None and not cancellable
        python_bytes = settings.single_task_bytes if alone else 0
        return choose(frames, limit_bytes=self._limit_bytes(), python_bytes=python_bytes)

    def _limit_bytes(self) -> int:
        return whole_limit() if self._whole_bytes is None else self._whole_bytes

    @property
    def _home(self) -> str:
        """The name of the engine that has the results of queries."""
        return self._url or EMBEDDED

    def _runner(self) -> Runner:
        return self._cluster or _embedded(os.getpid())


def _name(number: int) -> str:
    """Return the name of a result; the first has the name that people see for a single one."""
    return "result" if number == 0 else f"result {number + 1}"


def _async_result(*, gevent: bool) -> Any:
    return _GeventDataFrameResult() if gevent else _AioDataFrameResult()


def _answer(callback: Callable[[Any], None], result: Any) -> None:
    """Give a result to the event loop that awaits it, if the loop is not closed meanwhile."""
    with suppress(RuntimeError):
        callback(result)


def _inner(result: list[pl.DataFrame] | Exception) -> Any:
    """Return frames as the objects of Polars' core, which its results wrap again."""
    return result if isinstance(result, Exception) else [frame._df for frame in result]


def _first(result: list[pl.DataFrame] | Exception) -> Any:
    return result if isinstance(result, Exception) else result[0]._df


@cache
def _embedded(_pid: int) -> LocalRunner:
    """Return the runner of all engines in this process; a forked child gets a runner of its own."""
    from minispark.engines.local import LocalRunner

    return LocalRunner()


def _cluster(url: str, token: str | None) -> ClusterRunner:
    from minispark.engines.cluster import ClusterRunner

    return ClusterRunner(url, token)


@contextmanager
def _marked_inside() -> Iterator[None]:
    """Run the queries that planning itself collects in Polars, if this engine is the default."""
    before = getattr(_inside, "engine", False)
    _inside.engine = True
    try:
        yield
    finally:
        _inside.engine = before


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
