"""Several planners, and the order in which jobs are planned.

A caller is one token at one address. Each caller has one job planned at a time: a job that takes a
minute to plan delays only later jobs of the same caller. Callers take turns (round robin). One
planner is reserved for the shared secret.

Covers: the order and the number. Does not cover: a planner (`planner`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from minispark.errors import ErrorInfo
from minispark.master.jobs.planner import PlannedBody, Planner
from minispark.master.settings import MasterConfig
from minispark.tokens import Level
from minispark.wire.guard import Caller
from minispark.wire.http import RefusedError


class PlannerPool:
    """The planners of a master; the first starts with the master, the others when needed."""

    def __init__(self, config: MasterConfig) -> None:
        self._all = [Planner(config) for _ in range(config.limits.planners)]
        self._free = list(self._all)
        self._most_waiting = config.limits.waiting_plans
        self._busy: set[Caller] = set()
        self._waiting: OrderedDict[Caller, deque[asyncio.Future[Planner]]] = OrderedDict()
        """The caller that was served longest ago is first."""

    async def start(self) -> None:
        """Start the first planner, so that it is warm when a job comes."""
        await self._all[0].start()

    async def close(self) -> None:
        """End all planners."""
        await asyncio.gather(*(planner.close() for planner in self._all))

    async def plan(self, body: bytes, caller: Caller) -> PlannedBody:
        """Return the plan of a JSON job, when it is its caller's turn.

        Raises
        ------
        RefusedError
            The job cannot be planned, or too many jobs of this caller wait already.
        """
        planner = await self._acquire(caller)
        try:
            return await planner.plan(body)
        finally:
            self._release(planner, caller)

    async def _acquire(self, caller: Caller) -> Planner:
        queue = self._waiting.setdefault(caller, deque())
        if len(queue) >= self._most_waiting:
            raise _too_many(len(queue))
        turn: asyncio.Future[Planner] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._serve()
        try:
            return await turn
        except asyncio.CancelledError:
            # A planner may have been assigned at the same moment.
            if turn.done() and not turn.cancelled():
                self._release(turn.result(), caller)
            raise

    def _release(self, planner: Planner, caller: Caller) -> None:
        # A warm planner is taken first.
        self._free.insert(0, planner)
        self._busy.discard(caller)
        if caller in self._waiting:
            self._waiting.move_to_end(caller)
        self._serve()

    def _serve(self) -> None:
        """Give free planners to the callers whose turn it is."""
        for caller, queue in list(self._waiting.items()):
            while queue and queue[0].cancelled():
                queue.popleft()
            if not queue:
                del self._waiting[caller]
            elif caller not in self._busy and self._may_take(caller):
                self._busy.add(caller)
                queue.popleft().set_result(self._free.pop(0))

    def _may_take(self, caller: Caller) -> bool:
        taken = sum(other.level is not Level.ROOT for other in self._busy)
        limit = max(1, len(self._all) - 1)
        return bool(self._free) and (caller.level is Level.ROOT or taken < limit)


def _too_many(count: int) -> RefusedError:
    message = f"{count} jobs with this token, from this address, are already waiting to be planned"
    return RefusedError(
        429, ErrorInfo("MS-149", message, hint="Submit the next one when one of them is planned.")
    )
