"""Submission of a job: planned, checked, given an id, and handed to the scheduler once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from minispark.clock import wall_s
from minispark.errors import ErrorInfo
from minispark.ids import job_id
from minispark.journal.rows import Submission
from minispark.logs import logger
from minispark.master.control.components import Components
from minispark.master.jobs.job_store import RunningJob
from minispark.master.jobs.planner_pool import PlannerPool
from minispark.master.jobs.validation import check_graph, check_sinks, sink_directories
from minispark.master.views.job_reader import update_wait_reasons
from minispark.observe.record import JobRecord
from minispark.observe.views import JobView
from minispark.plan.stages import StageGraph
from minispark.scheduler.events import JobCancelRequested
from minispark.specs import job_spec
from minispark.tokens import Level
from minispark.wire.guard import Caller
from minispark.wire.http import RefusedError
from minispark.wire.messages import GraphMessage
from minispark.wire.origin import JobOrigin, JobSource

_log = logger("master")


@dataclass(frozen=True, slots=True)
class _Incoming:
    """What comes with the plan of a job."""

    name: str
    weight: float
    key: str | None
    access: Level | None
    user: str | None
    text: JobSource | None

    @property
    def origin(self) -> JobOrigin:
        kind = None if self.text is None else self.text.kind
        return JobOrigin(user=self.user, access=self.access, source=kind)


class Submissions:
    """Accepts and cancels jobs."""

    def __init__(self, components: Components, planner_pool: PlannerPool) -> None:
        self._components = components
        self._jobs = components.jobs
        self._loop = components.loop
        self._planner_pool = planner_pool
        self._by_key: dict[str, asyncio.Task[str]] = {}
        self._outputs = asyncio.Lock()
        self._number = 0

    async def submit_json(
        self,
        body: bytes,
        *,
        idempotency_key: str | None,
        caller: Caller,
        spare: int = 0,
        user: str | None = None,
    ) -> str:
        """Plan a JSON job and accept it; return its id. ``spare`` of the places for jobs stay free.

        The planner parses the body: here that would hold up everything else.

        Raises
        ------
        RefusedError
            The job cannot run.
        """

        async def accept() -> str:
            self._check_places(spare)
            job = await self._planner_pool.plan(body, caller)
            self._check_places(spare)
            text = JobSource("json", body.decode(errors="replace"))
            incoming = _Incoming(job.name, job.weight, idempotency_key, caller.level, user, text)
            return await self._accept(job.graph, incoming)

        return await self._once(accept, idempotency_key)

    async def submit_graph(
        self,
        name: str,
        graph: StageGraph,
        *,
        weight: float,
        idempotency_key: str | None,
        caller: Caller,
        spare: int = 0,
        user: str | None = None,
        sql: str | None = None,
    ) -> str:
        """Accept a job that its client has planned; return its id. ``spare``: see `submit_json`.

        Raises
        ------
        RefusedError
            The plan cannot run.
        """

        async def accept() -> str:
            self._check_places(spare)
            # Drop client-supplied cache keys: the master cannot verify them.
            own = replace(graph, stages=tuple(replace(s, cached=None) for s in graph.stages))
            text = None if sql is None else JobSource("sql", sql)
            incoming = _Incoming(name, weight, idempotency_key, caller.level, user, text)
            return await self._accept(own, incoming)

        return await self._once(accept, idempotency_key)

    async def cancel(self, job: str) -> JobView:
        """Cancel a job; one that has ended stays as it is.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        if self._jobs.outcome(job) is None:
            self._loop.require_writable()
            self._loop.handle(JobCancelRequested(job))
            await self._loop.durable()
        return self._jobs.view(job)

    async def _once(self, accept: Callable[[], Coroutine[Any, Any, str]], key: str | None) -> str:
        if key is None:
            return await accept()
        job = self._jobs.by_idempotency_key(key)
        if job is not None:
            # It may have been accepted by a request that was answered with an error just now.
            await self._loop.durable()
            return job
        if key not in self._by_key:
            # A task of its own: the client that came first may leave before it is done.
            task = asyncio.create_task(accept())
            self._by_key[key] = task
            task.add_done_callback(lambda _done: self._by_key.pop(key, None))
        return await asyncio.shield(self._by_key[key])

    def _check_places(self, spare: int) -> None:
        """Refuse a job where too many run; called before it is planned and again after."""
        limit = self._components.config.limits.running_jobs - spare
        if len(self._jobs.live) >= limit:
            info = ErrorInfo("MS-142", f"{limit} jobs are running already", hint="Wait for one.")
            raise RefusedError(429, info)

    async def _accept(self, graph: StageGraph, incoming: _Incoming) -> str:
        config = self._components.config
        self._loop.require_writable()
        check_graph(graph, config.limits, config.plan)
        directories = sink_directories(graph, config.data_root)
        if not directories:
            return await self._begin(graph, {}, incoming)
        # Held until the job is in the store: two jobs must not find the same directory free.
        async with self._outputs:
            busy = [path for job in self._jobs.live.values() for path in job.directories.values()]
            root = config.data_root
            await asyncio.to_thread(check_sinks, graph, directories, busy=busy, data_root=root)
            return await self._begin(graph, directories, incoming)

    async def _begin(
        self, graph: StageGraph, directories: Mapping[int, Path], incoming: _Incoming
    ) -> str:
        components, identity = self._components, self._components.identity
        self._number += 1
        job = job_id(identity.cluster_id, identity.master_epoch, self._number)
        now = wall_s()
        status = components.scheduler.worker_status()
        up = {worker.worker for worker in status if worker.status == "UP"}
        hits = components.registry.find_cached(graph, job, workers=up)
        name, origin, text = incoming.name, incoming.origin, incoming.text
        record = JobRecord(job, name, graph, now, origin=origin)
        self._jobs.add(RunningJob(record, dict(directories)), idempotency_key=incoming.key)
        components.journal.job_accepted(
            job,
            GraphMessage(graph=graph),
            name=name,
            at=now,
            idempotency_key=incoming.key,
            staging=[str(directory) for directory in directories.values()],
            origin=origin,
            source=None if text is None else text.text,
        )
        _log.info(
            "job_accepted", job=job, name=name, stages=len(graph.stages), tasks_found=len(hits)
        )
        spec = job_spec(graph, job, weight=incoming.weight, hits=hits)
        self._loop.handle(Submission(job=spec, found=hits))
        update_wait_reasons(components)
        await self._loop.durable()
        return job
