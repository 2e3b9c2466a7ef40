"""The HTTP client of a master, for the command line, `ClusterRunner` and users.

Every POST carries an Idempotency-Key, and all other requests are idempotent. So a request that
fails on a stale connection is sent again.
"""

from __future__ import annotations

import io
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
from pydantic import TypeAdapter

from minispark import config, discovery
from minispark.blocks.meta import BlockSource
from minispark.bounds import MAX_TEXT_CHARS
from minispark.clock import monotonic_s
from minispark.engines.resume_download import BEYOND_THE_END, save
from minispark.errors import JobFailedError, MasterUnreachableError, MinisparkError, UsageError
from minispark.ids import JOB_ID
from minispark.journal.journal import JournalEvent
from minispark.journal.rows import Row
from minispark.observe.views import ENDED, JobMetrics, JobView, StageRow
from minispark.observe.why import Advice
from minispark.plan.stages import StageGraph
from minispark.printable import listed
from minispark.program import as_typed
from minispark.tls import TRUST_HINT, client_context, trust_problem
from minispark.wire.addresses import wrong_server
from minispark.wire.hosts import check_clear_text, listener_trace
from minispark.wire.http import auth_headers, error_from, versions
from minispark.wire.messages import GraphMessage, JobAccepted, PlannedJob, ResultBlocks
from minispark.wire.origin import user_headers

if TYPE_CHECKING:
    import polars as pl

_WAIT_S = 20.0
"""How long the master may hold a request open: less than the idle time-outs of common proxies."""
_ANSWER_S = 30.0
_CONNECT_S = 5.0
_NO_CONNECTION = (httpx2.ConnectError, httpx2.TimeoutException)
_TRIES = 2
"""The server may just have closed a kept-alive connection. More tries are up to the caller."""
_PATIENCE_S = 60.0
"""A wait for a job survives a restart of the master that takes less than this."""
_RETRY_S = 0.2
_PAGE = 1_000
"""Events in one answer: the master's own limit."""
_NAMED_JOBS = 5
_MASTER_TYPES = ("application/json", "application/sql")
"""Content types of a master's answers; the pages of other servers are of other types."""
_BEFORE_FIRST = -1
"""Lower than the version of every view."""

_stage_rows = TypeAdapter(list[StageRow])
_views = TypeAdapter(list[JobView])


class MasterClient:
    """Connections to one master; any thread may use them.

    `minispark.discovery` finds ``url`` and ``token`` if they are None. Jobs are submitted under the
    name ``user``, by default that of ``MINISPARK_USER``.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, user: str | None = None
    ) -> None:
        self.url = discovery.resolve(url) if url else discovery.find_master()
        self._searched = "set by the caller"
        hooks: list[Callable[[httpx2.Request], None]] = []
        if token is None:
            if not config.token_is_given():
                hooks.append(self._check_listener)
            state = config.state_dir()
            token = discovery.find_token(self.url, state)
            self._searched = discovery.token_sources(self.url, state)
        self.token = token
        self._user = user_headers(user)
        self._met = False
        """Whether a master has answered: then an error is not that of a wrong address."""
        if token is not None:
            check_clear_text(self.url, allowed=discovery.allows_clear_text(self.url))
        self.ca_file = discovery.find_ca_file(self.url)
        self._http = httpx2.Client(
            base_url=self.url,
            headers=auth_headers(token),
            timeout=httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S),
            verify=client_context(self.url, self.ca_file),
            # Proxies from the environment would get the token.
            trust_env=False,
            event_hooks={"request": hooks},
        )

    def __enter__(self) -> MasterClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit_json(self, job: Mapping[str, Any], *, key: str | None = None) -> str:
        """Submit a JSON job and return its id; the same ``key`` gives the same job."""
        return self._submit("/api/v1/jobs", json.dumps(job).encode(), key)

    def submit_planned(
        self, graph: StageGraph, *, name: str, key: str | None = None, sql: str | None = None
    ) -> str:
        """Submit a plan that this process made and return the job's id; ``sql`` is its text."""
        text = None if sql is None or len(sql) > MAX_TEXT_CHARS else sql
        body = PlannedJob(name=name, graph=graph, versions=versions(), sql=text)
        return self._submit("/internal/v1/jobs", body.model_dump_json().encode(), key)

    def job(self, job_id: str, *, wait_s: float = 0.0, seen: int | None = None) -> JobView:
        """Return the view of a job; with ``wait_s``, wait for a version other than ``seen``."""
        params = {"wait_s": wait_s or None, "seen": seen}
        content = self._get(f"/api/v1/jobs/{job_id}", params, timeout_s=wait_s + _ANSWER_S)
        return JobView.model_validate_json(content)

    def wait(
        self,
        job_id: str,
        *,
        on_change: Callable[[JobView], None] | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> JobView:
        """Wait until a job has ended, for up to ``patience_s`` also while the master is down."""
        # A caller that wants every change also wants the present view at once.
        seen = None if on_change is None else _BEFORE_FIRST
        down_since: float | None = None
        while True:
            try:
                view = self.job(job_id, wait_s=_WAIT_S, seen=seen)
            except MasterUnreachableError:
                down_since = down_since or monotonic_s()
                if monotonic_s() - down_since > patience_s:
                    raise
                threading.Event().wait(_RETRY_S)
                continue
            down_since = None
            if on_change is not None and view.version != seen:
                on_change(view)
            if view.status in ENDED:
                return view
            seen = view.version

    def find_job(self, text: str) -> str:
        """Return the id that a whole id, or the beginning or the end of one, names.

        All ids of a cluster begin alike, so the end is short: ``1-7`` of ``job-065e949e-1-7``.

        Raises
        ------
        UsageError
            Several jobs have such ids.
        """
        if JOB_ID.fullmatch(text):
            return text
        ids = [view.job_id for view in self.jobs(limit=_PAGE)]
        found = [job for job in ids if job.startswith(text) or job.endswith(f"-{text}")]
        if len(found) > 1:
            msg = f"{text!r} names {len(found)} jobs: {listed(found[:_NAMED_JOBS])}"
            raise UsageError(msg, code="MS-140", hint="Use more characters of the id.")
        # The master says that there is no such job, and names similar ones.
        return found[0] if found else text

    def rerun(self, job_id: str) -> str:
        """Submit the same job again and return the id of the new one."""
        return self._submit(f"/api/v1/jobs/{job_id}/rerun", b"", None)

    def source(self, job_id: str) -> str:
        """Return the text of a job: JSON, or SQL."""
        return self._get(f"/api/v1/jobs/{job_id}/source").decode()

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job and return its view; a job that has ended does not change."""
        return JobView.model_validate_json(self._request("DELETE", f"/api/v1/jobs/{job_id}"))

    def jobs(self, *, limit: int | None = None, after: str | None = None) -> list[JobView]:
        """Return the jobs that the master knows, newest first."""
        rows = self._list("/api/v1/jobs", "jobs", limit=limit, after=after)
        return _views.validate_python(rows)

    def stages(self, job_id: str) -> list[StageRow]:
        """Return one row per DAG node and per physical stage."""
        return _stage_rows.validate_python(self._list(f"/api/v1/jobs/{job_id}/stages", "stages"))

    def metrics(self, job_id: str) -> JobMetrics:
        """Return the metrics of a job."""
        return JobMetrics.model_validate_json(self._get(f"/api/v1/jobs/{job_id}/metrics"))

    def workers(self) -> list[dict[str, Any]]:
        """Return the workers with their load."""
        return self._list("/api/v1/workers", "workers")

    def why(self, job_id: str) -> list[Advice]:
        """Return advice about a job: what is unusual, and which change helps."""
        rows = self._list(f"/api/v1/jobs/{job_id}/why", "why")
        return [Advice.model_validate(row) for row in rows]

    def page(self, job_id: str) -> str:
        """Return the URL of the page of a job."""
        return f"{self.url}/jobs/{job_id}"

    def login_link(self, path: str = "/") -> str:
        """Return a link that logs a browser in, once, and leads to ``path``."""
        content = self._request("POST", "/api/v1/login-links", json={"next": path})
        link = json.loads(content)
        return f"{link.get('server') or self.url}{link['path']}"

    def get_json(self, path: str, **params: object) -> Any:
        """Return any other document of the master, such as ``/api/v1/metrics/system``."""
        return json.loads(self._get(path, params))

    def _list(self, path: str, name: str, **params: object) -> list[Any]:
        return list(self.get_json(path, **params)[name])

    @contextmanager
    def results(
        self,
        job_id: str,
        *,
        format: str = "arrow",  # noqa: A002
        node: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[httpx2.Response]:
        """Open the result of a job as a stream of bytes.

        With the ``headers`` ``Range`` and ``If-Range`` the answer may be a part (206), or have no
        more bytes (416).
        """
        params = _without_none({"format": format, "node": node})
        path = f"/api/v1/jobs/{job_id}/results"
        try:
            with self._http.stream("GET", path, params=params, headers=headers or {}) as response:
                if response.is_error and response.status_code != BEYOND_THE_END:
                    response.read()
                    raise self._refused(response)
                yield response
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def save_results(
        self,
        job_id: str,
        path: Path,
        *,
        format: str = "arrow",  # noqa: A002
        node: str | None = None,
    ) -> int:
        """Write the result of a job to a file and return its size.

        A download that breaks off is resumed, by this call or the next one. The file gets its name
        when it is complete.

        Raises
        ------
        MasterUnreachableError
            The download broke off too often in a row; its part stays beside ``path``.
        """
        return save(partial(self.results, job_id, format=format, node=node), path)

    def result_frame(self, job_id: str, *, node: str | None = None) -> pl.DataFrame:
        """Return the result of a job as a DataFrame."""
        import polars as pl

        buffer = io.BytesIO()
        with self.results(job_id, node=node) as response:
            for chunk in response.iter_bytes():
                buffer.write(chunk)
        buffer.seek(0)
        return pl.read_ipc_stream(buffer)

    def result_blocks(self, job_id: str, node: str) -> tuple[tuple[BlockSource, ...], str | None]:
        """Return the blocks of a result, in partition order, and the ticket to read them."""
        results = ResultBlocks.model_validate_json(self._get(f"/internal/v1/jobs/{job_id}/blocks"))
        for result in results.nodes:
            if result.node == node:
                return result.blocks, results.ticket
        msg = f"the job {job_id} has no result {node!r}"
        raise UsageError(msg, node=node)

    def plan(self, job_id: str) -> StageGraph:
        """Return the physical plan of a job."""
        content = self._get(f"/internal/v1/jobs/{job_id}/plan")
        return GraphMessage.model_validate_json(content).graph

    def rows(self, job_id: str) -> Iterator[Row]:
        """Yield every journal row of a job, oldest first."""
        after: int | None = 0
        path = f"/api/v1/jobs/{job_id}/events"
        while after is not None:
            page = self.get_json(path, limit=_PAGE, after=after)
            for event in page["events"]:
                payload, decided = json.dumps(event["payload"]), json.dumps(event["decisions"])
                number, kind, at = event["seq"], event["kind"], event["at"]
                yield Row.read(JournalEvent(number, job_id, kind, at, None, payload, decided))
            after = page["after"]

    def _check_listener(self, request: httpx2.Request) -> None:
        request.extensions["trace"] = listener_trace(self.url)

    def _submit(self, path: str, body: bytes, key: str | None) -> str:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": key or uuid.uuid4().hex,
            **self._user,
        }
        content = self._request("POST", path, content=body, headers=headers)
        return JobAccepted.model_validate(json.loads(content), extra="ignore").job_id

    def _get(
        self, path: str, params: Mapping[str, object] = {}, *, timeout_s: float = _ANSWER_S
    ) -> bytes:
        timeout = httpx2.Timeout(timeout_s, connect=_CONNECT_S)
        return self._request("GET", path, params=_without_none(params), timeout=timeout)

    def _request(self, method: str, path: str, **options: Any) -> bytes:
        problem: httpx2.HTTPError | None = None
        for _ in range(_TRIES):
            try:
                response = self._http.request(method, path, **options)
            except (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError) as error:
                problem = error
                continue
            except httpx2.HTTPError as error:
                raise self._unreachable(error) from error
            if not response.is_success:
                raise self._refused(response)
            if not response.headers.get("content-type", "").startswith(_MASTER_TYPES):
                msg = f"the server at {self.url} is not a Mini-Spark master"
                raise UsageError(msg, code="MS-502", hint="Name the master with --master URL.")
            self._met = True
            return response.content
        raise self._unreachable(problem) from problem

    def _unreachable(self, error: Exception | None) -> MinisparkError:
        problem = trust_problem(error)
        connected = problem or not isinstance(error, _NO_CONNECTION)
        wrong = wrong_server(self.url) if connected and not self._met else None
        if wrong is not None:
            return wrong
        if problem is not None:
            msg = f"the server at {self.url} is not the master: {problem}"
            return UsageError(msg, code="MS-614", hint=TRUST_HINT)
        ended = [master.pid for master in discovery.masters_at(self.url) if not master.running]
        gone = f"The master that ran there (process {ended[0]}) has ended. " if ended else ""
        hint = "Start one with: minispark master, or name another with --master URL."
        return MasterUnreachableError(
            f"no master answers at {self.url} ({type(error).__name__}: {error})",
            hint=gone + as_typed(hint),
        )

    def _refused(self, response: httpx2.Response) -> MinisparkError:
        try:
            body = response.json()
        except ValueError:
            body = None
        info = error_from(body, status=response.status_code)
        # A worker refuses as a master does: an unknown token, an unknown route, a body at one.
        wrong = None if self._met else wrong_server(self.url)
        if wrong is not None:
            return wrong
        if info.code == "MS-502":
            msg = f"the server at {self.url} is not a Mini-Spark master: it answers with HTTP "
            msg += f"status {response.status_code}"
            return UsageError(msg, code=info.code, hint="Name the master with --master URL.")
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            refusal = "does not accept the token" if self.token else "requires a token"
            return UsageError(
                f"the master at {self.url} {refusal}",
                code=info.code,
                hint=f"Searched in: {self._searched}.",
            )
        info = info.map_texts(as_typed, names=("hint",))
        if response.status_code >= 500:
            return JobFailedError.from_info(info)
        return UsageError.from_info(info)


def _without_none(params: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}
