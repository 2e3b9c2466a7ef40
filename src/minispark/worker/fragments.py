"""The fragments of a worker. All tasks of a branch run the same fragment.

The master sends each fragment once to a session of a worker. The worker requests a missing one (its
message was lost, or it was dropped for memory) when a task is about to run it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from minispark.errors import MasterUnreachableError
from minispark.ids import TaskKey
from minispark.logs import logger, task_fields
from minispark.settings import FragmentSettings
from minispark.task.spec import FragmentKey, TaskSpec
from minispark.wire.messages import Fragment
from minispark.worker.rpc import Backoff, RegisterAgain

_log = logger("worker")

Request = Callable[[FragmentKey], Awaitable[Fragment | None]]


class Fragments:
    """The fragments of all jobs, in memory. For one event loop.

    ``request`` gets one from the master; ``is_wanted`` says whether a task still has to run.
    """

    def __init__(
        self,
        request: Request,
        *,
        is_wanted: Callable[[TaskKey], bool],
        settings: FragmentSettings | None = None,
    ) -> None:
        self._request = request
        self._is_wanted = is_wanted
        self._limit_bytes = (settings or FragmentSettings()).memory_bytes
        self._held: dict[FragmentKey, bytes] = {}
        """Least recently used first."""
        self._one_at_a_time = asyncio.Lock()

    @property
    def jobs(self) -> frozenset[str]:
        """The jobs that have fragments here."""
        return frozenset(key.job for key in self._held)

    @property
    def held_bytes(self) -> int:
        """Size of all fragments in memory."""
        return sum(map(len, self._held.values()))

    def add(self, fragments: Iterable[Fragment]) -> None:
        """Add fragments; drop the least recently used over the limit, but never the newest."""
        for fragment in fragments:
            self._held.pop(fragment.key, None)
            self._held[fragment.key] = fragment.data
        while len(self._held) > 1 and self.held_bytes > self._limit_bytes:
            del self._held[next(iter(self._held))]

    async def get(self, spec: TaskSpec) -> bytes | None:
        """Return the fragment of a task, None if the task need not run any more.

        Raises
        ------
        LookupError
            The master does not have it: the job has ended.
        """
        if not self._is_wanted(spec.key):
            return None
        fragment = self._use(spec.fragment_key)
        return await self._fetch(spec) if fragment is None else fragment

    def release(self, job: str) -> None:
        """Drop the fragments of a job."""
        self._held = {key: data for key, data in self._held.items() if key.job != job}

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()

    def _use(self, key: FragmentKey) -> bytes | None:
        data = self._held.pop(key, None)
        if data is not None:
            self._held[key] = data
        return data

    async def _fetch(self, spec: TaskSpec) -> bytes | None:
        key, backoff = spec.fragment_key, Backoff()
        _log.info("fragment_missing", **task_fields(spec.key))
        # The second task finds the fragment that the first has fetched.
        async with self._one_at_a_time:
            while self._is_wanted(spec.key):
                if (held := self._use(key)) is not None:
                    return held
                try:
                    fragment = await self._request(key)
                except (MasterUnreachableError, RegisterAgain):
                    await asyncio.sleep(backoff.next_s())
                    continue
                if fragment is None:
                    msg = f"the master has no fragment of stage {key.stage} of {key.job}"
                    raise LookupError(msg)
                self.add([fragment])
        return None
