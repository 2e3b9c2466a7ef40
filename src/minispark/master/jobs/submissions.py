"""How a job comes in: planned, checked, named, and told to the scheduler once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from minispark.clock import wall_s
from minispark.errors import ErrorInfo
from minispark.ids import job_id
from minispark.journal.rows import Submission
from minispark.logs import logger
from minispark.master.control.components import Components
from minispark.master.http.http_errors import RefusedError
from minispark.master.jobs.job_store import RunningJob
from minispark.master.jobs.planner_pool import PlannerPool
from minispark.master.jobs.validation import (
    check_graph,
    check_sinks,
    sink_directories,
)
from minispark.observe.record import JobRecord
from minispark.observe.views import JobView
from minispark.plan.stages import StageGraph
from minispark.scheduler.events import JobCancelRequested
from minispark.specs import job_spec
from minispark.wire.guard import Caller
from minispark.wire.messages import GraphMessage

_log = logger("master")


class Submissions:
    """Accepts and cancels jobs."""

    def __init__(self, parts: Components, planners: PlannerPool) -> None:
        self._parts = parts
        self._planners = planners
        self._by_key: dict[str, asyncio.Task[str]] = {}
        self._outputs = asyncio.Lock()
        self._number = 0

    async def submit_json(
        self, body: bytes, *, idempotency_key: str | None, who: Caller, spare: int = 0
    ) -> str:
        """Plan a JSON job and accept it; return its id. ``spare`` places for jobs stay free.

        The body is parsed by the planner: here it would hold up everything else.

        Raises
        ------
        RefusedError
            The job cannot run: what is wrong with it.
        """

        async def accept() -> str:
            self._check_room(spare)
            job = await self._planners.plan(body, who)
            self._check_room(spare)
            return await self._accept(job.name, job.graph, weight=job.weight, key=idempotency_key)

        return await self._once(accept, idempotency_key)

    async def submit_graph(
        self,
        name: str,
        graph: StageGraph,
        *,
        weight: float,
        idempotency_key: str | None,
        spare: int = 0,
    ) -> str:
        """Accept a job that its client has planned; return its id.

        ``spare`` places for jobs stay free.

        Raises
        ------
        RefusedError
            The plan cannot run.
        """

        async def accept() -> str:
            self._check_room(spare)
            # What a client names a key nobody can check: only the own planner's may be shared.
            own = replace(graph, stages=tuple(replace(s, cached=None) for s in graph.stages))
            return await self._accept(name, own, weight=weight, key=idempotency_key)

        return await self._once(accept, idempotency_key)

    async def cancel(self, job: str) -> JobView:
        """End a job; one that has ended stays as it is.

        Raises
        ------
        RefusedError
            There is no such job.
        """
        parts = self._parts
        if parts.jobs.outcome(job) is None:
            parts.loop.require_writable()
            parts.loop.handle(JobCancelRequested(job))
            await parts.loop.durable()
        return parts.jobs.view(job)

    async def _once(self, accept: Callable[[], Awaitable[str]], key: str | None) -> str:
        if key is None:
            return await accept()
        known = self._parts.jobs.by_idempotency_key(key)
        if known is not None:
            # Perhaps it was accepted just now, by somebody who was told that it could not be.
            await self._parts.loop.durable()
            return known
        if key not in self._by_key:

            async def work() -> str:
                return await accept()

            # A task of its own: the client that came first may leave before it is done.
            task = asyncio.create_task(work())
            self._by_key[key] = task
            task.add_done_callback(lambda _done: self._by_key.pop(key, None))
        return await asyncio.shield(self._by_key[key])

    def _check_room(self, spare: int) -> None:
        """Refuse a job where too many run; before it is planned and again after."""
        limit = self._parts.config.limits.running_jobs - spare
        if len(self._parts.jobs.live) >= limit:
            info = ErrorInfo("MS-142", f"{limit} jobs are running already", hint="Wait for one.")
            raise RefusedError(429, info)

    async def _accept(self, name: str, graph: StageGraph, *, weight: float, key: str | None) -> str:
        parts = self._parts
        parts.loop.require_writable()
        check_graph(graph, parts.config.limits, parts.config.plan)
        directories = sink_directories(graph, parts.config.data_root)
        if not directories:
            return await self._begin(name, graph, {}, weight=weight, key=key)
        async with self._outputs:
            # Still held when the job is in the book: two must not find the same place free.
            busy = [path for job in parts.jobs.live.values() for path in job.directories.values()]
            root = parts.config.data_root
            await asyncio.to_thread(check_sinks, graph, directories, busy=busy, data_root=root)
            return await self._begin(name, graph, directories, weight=weight, key=key)

    async def _begin(
        self,
        name: str,
        graph: StageGraph,
        directories: Mapping[int, Path],
        *,
        weight: float,
        key: str | None,
    ) -> str:
        parts = self._parts
        self._number += 1
        job = job_id(parts.identity.cluster_id, parts.identity.master_epoch, self._number)
        now = wall_s()
        live = RunningJob(JobRecord(job, name, graph, now), dict(directories))
        found = parts.find_cached(graph, job)
        parts.jobs.add(live, idempotency_key=key)
        parts.journal.job_accepted(
            job,
            GraphMessage(graph=graph),
            name=name,
            at=now,
            idempotency_key=key,
            staging=[str(directory) for directory in directories.values()],
        )
        _log.info(
            "job_accepted", job=job, name=name, stages=len(graph.stages), tasks_found=len(found)
        )
        spec = job_spec(graph, job, weight=weight, found=found)
        parts.loop.handle(Submission(job=spec, found=found))
        parts.update_wait_reasons()
        await parts.loop.durable()
        return job
