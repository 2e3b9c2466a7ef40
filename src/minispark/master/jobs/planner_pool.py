"""Several planners, and whose job is planned next.

Those who have one token and one address have one job planned at a time, and wait for each other
only: a job that takes a minute to plan delays the next ones of who sent it. Between callers it goes
round. One planner is for the shared secret.

Covers: the order and the number. Does not cover: a planner (`planner`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from minispark.errors import ErrorInfo
from minispark.master.http.http_errors import RefusedError
from minispark.master.jobs.planner import PlannedBody, Planner
from minispark.master.settings import MasterConfig
from minispark.tokens import Level
from minispark.wire.guard import Caller


class PlannerPool:
    """The planners of a master; all but the first are started when they are needed."""

    def __init__(self, config: MasterConfig) -> None:
        self._all = [Planner(config) for _ in range(config.limits.planners)]
        self._free = list(self._all)
        self._most_waiting = config.limits.waiting_plans
        self._busy: set[Caller] = set()
        self._waiting: OrderedDict[Caller, deque[asyncio.Future[Planner]]] = OrderedDict()
        """The caller who was served longest ago first."""

    async def start(self) -> None:
        """Start the first, so that it is warm when a job comes."""
        await self._all[0].start()

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*(planner.close() for planner in self._all))

    async def plan(self, body: bytes, who: Caller) -> PlannedBody:
        """Return the plan of a JSON job, when it is the turn of who has sent it.

        Raises
        ------
        RefusedError
            The job cannot be planned, or too many of this caller wait for that already.
        """
        planner = await self._turn(who)
        try:
            return await planner.plan(body)
        finally:
            self._release(planner, who)

    async def _turn(self, who: Caller) -> Planner:
        line = self._waiting.setdefault(who, deque())
        if len(line) >= self._most_waiting:
            raise _too_many(len(line))
        place: asyncio.Future[Planner] = asyncio.get_running_loop().create_future()
        line.append(place)
        self._serve()
        try:
            return await place
        except asyncio.CancelledError:
            # It may have been its turn at the same moment.
            if place.done() and not place.cancelled():
                self._release(place.result(), who)
            raise

    def _release(self, planner: Planner, who: Caller) -> None:
        # The one that is warm is taken first.
        self._free.insert(0, planner)
        self._busy.discard(who)
        if who in self._waiting:
            self._waiting.move_to_end(who)
        self._serve()

    def _serve(self) -> None:
        """Give free planners to those whose turn it is."""
        for who, line in list(self._waiting.items()):
            while line and line[0].cancelled():
                line.popleft()
            if not line:
                del self._waiting[who]
            elif who not in self._busy and self._may_take(who):
                self._busy.add(who)
                line.popleft().set_result(self._free.pop(0))

    def _may_take(self, who: Caller) -> bool:
        others = sum(one.level is not Level.ROOT for one in self._busy)
        most = max(1, len(self._all) - 1)
        return bool(self._free) and (who.level is Level.ROOT or others < most)


def _too_many(count: int) -> RefusedError:
    message = f"{count} jobs with this token, from this address, wait to be planned already"
    return RefusedError(
        429, ErrorInfo("MS-149", message, hint="Send the next when one is planned.")
    )
