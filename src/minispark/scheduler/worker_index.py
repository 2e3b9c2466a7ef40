"""Which workers take work, and which is next: an index over `State.rotation`.

Covers: the availability of each worker, and buckets by load. Does not cover: which rule picks from
them (`placement`). It is in no snapshot: every change of a worker must call `WorkerIndex.see`. A
call costs logarithmic time in the number of workers.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum
from math import inf

from minispark.scheduler.lazy_heap import LazyHeap
from minispark.scheduler.workers import Worker


class Availability(Enum):
    """Why a worker of the rotation gets no work, the strongest reason first."""

    SUSPECT = "suspect"
    FULL = "full"
    EXCLUDED = "excluded"
    """It gets only tasks that no fit worker can take."""
    FIT = "fit"

    @classmethod
    def of(cls, worker: Worker) -> Availability:
        """Return the availability of a worker."""
        if worker.suspect:
            return cls.SUSPECT
        if worker.full is not None:
            return cls.FULL
        return cls.FIT if worker.excluded_until_s is None else cls.EXCLUDED


class LoadBuckets:
    """Workers of one availability, by load and by when they last got work."""

    def __init__(self, *, max_load_diff: int, max_prefetch: int) -> None:
        self._diff = max_load_diff
        self._prefetch = max_prefetch
        self.members: dict[str, Worker] = {}
        self._at: dict[tuple[int, int], LazyHeap] = {}
        """Workers with capacity, by (queue position of the next attempt, load); position 0 is a
        free slot. No bucket is empty."""
        self._place: dict[str, tuple[int, int]] = {}
        self.shortest: float = inf
        """Smallest queue position that the next attempt can have, infinity for none."""
        self.free = 0
        """Number of workers with a free slot."""

    def put(self, worker: Worker) -> None:
        """Insert a worker, or update its bucket."""
        load, name = len(worker.leased), worker.name
        self.members[name] = worker
        place = (max(0, load - worker.slots + 1), load)
        if place != self._place.get(name):
            self._leave(name)
            if load < worker.slots + self._prefetch:
                self._place[name] = place
                self.free += place[0] == 0
        if name in self._place:
            if place not in self._at:
                self._at[place] = LazyHeap()
                self.shortest = min(self.shortest, place[0])
            self._at[place].put(name, (worker.turn,))

    def drop(self, name: str) -> None:
        """Remove a worker, if present."""
        self._leave(name)
        self.members.pop(name, None)

    def _leave(self, name: str) -> None:
        place = self._place.pop(name, None)
        if place is not None:
            self._at[place].drop(name)
            if not self._at[place]:
                del self._at[place]
                self.shortest = min((waits for waits, _ in self._at), default=inf)
            self.free -= place[0] == 0

    def within(self, names: Collection[str]) -> bool:
        """Whether all workers here are among ``names``."""
        if not names:
            return not self.members
        return len(self.members) <= sum(name in self.members for name in names)

    def pick(self, avoid: Collection[str], *, ahead: int) -> Worker | None:
        """Return the next worker that is not too loaded, None if there is none.

        Without a free slot the attempt may wait on the worker, at position ``ahead`` at most.
        """
        if self.shortest > ahead:
            return None
        limit = min(load for waits, load in self._at if waits <= ahead) + self._diff
        best: tuple[bool, int, Worker] | None = None
        for (waits, load), ranking in self._at.items():
            if waits <= ahead and load <= limit and (name := ranking.first(but=avoid)) is not None:
                worker = self.members[name]
                candidate = (waits > 0, worker.turn, worker)
                best = candidate if best is None or candidate[:2] < best[:2] else best
        return None if best is None else best[2]

    def alike(self, first: str, second: str) -> bool:
        """Whether two workers are in the same bucket."""
        return self._place.get(first) == self._place.get(second)


class WorkerIndex:
    """The availability of every worker that is UP."""

    def __init__(self, *, max_load_diff: int = 0, max_prefetch: int = 0) -> None:
        self.fit = LoadBuckets(max_load_diff=max_load_diff, max_prefetch=max_prefetch)
        self.excluded = LoadBuckets(max_load_diff=max_load_diff, max_prefetch=max_prefetch)
        self.suspect: dict[str, Worker] = {}
        """Workers from which a task could not read, and that were not heard since."""
        self.full: dict[str, Worker] = {}
        """Workers whose disk or memory is full."""
        self._standing: dict[str, Availability] = {}
        self.waiting = LazyHeap()
        """Workers with a waiting attempt, by the lease time of the last waiting one."""
        self.excluded_workers: dict[str, Worker] = {}
        """Workers that are excluded for a while, suspect and full ones too."""

    @property
    def shortest(self) -> float:
        """Smallest queue position that the next attempt can have, infinity for none."""
        return min(self.fit.shortest, self.excluded.shortest)

    @property
    def has_slot(self) -> bool:
        """Whether a fit or excluded worker has a free slot."""
        return bool(self.fit.free or self.excluded.free)

    def see(self, worker: Worker) -> None:
        """Insert a worker of the rotation, or update it."""
        name, standing = worker.name, Availability.of(worker)
        if self._standing.get(name) is not standing:
            self.forget(name)
            self._standing[name] = standing
        match standing:
            case Availability.FIT:
                self.fit.put(worker)
            case Availability.EXCLUDED:
                self.excluded.put(worker)
            case Availability.FULL:
                self.full[name] = worker
            case Availability.SUSPECT:
                self.suspect[name] = worker
        last = worker.last_in_line
        if last is not None:
            self.waiting.put(name, (worker.leased[last], worker.turn))
        else:
            self.waiting.drop(name)
        if worker.excluded_until_s is not None:
            self.excluded_workers[name] = worker
        elif name in self.excluded_workers:
            del self.excluded_workers[name]

    def forget(self, name: str) -> None:
        """Remove a worker that takes no more work."""
        self._standing.pop(name, None)
        self.waiting.drop(name)
        for workers in (self.suspect, self.full, self.excluded_workers):
            workers.pop(name, None)
        self.fit.drop(name)
        self.excluded.drop(name)
