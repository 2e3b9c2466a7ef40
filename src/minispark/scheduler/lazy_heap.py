"""A priority queue whose members often change their rank; see `job_queue` and `worker_index`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush

Rank = tuple[float, ...]

_SLACK = 64


class LazyHeap:
    """Names by rank, the lowest first.

    A heap entry whose rank is not the current rank of its name is stale. When most entries are
    stale the heap is rebuilt, so that a call costs logarithmic time on average.
    """

    __slots__ = ("_heap", "_ranks")

    def __init__(self) -> None:
        self._heap: list[tuple[Rank, str]] = []
        self._ranks: dict[str, Rank] = {}

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, name: str) -> bool:
        return name in self._ranks

    def put(self, name: str, rank: Rank) -> None:
        """Insert a name, or change its rank."""
        if self._ranks.get(name) == rank:
            return
        self._ranks[name] = rank
        if len(self._heap) > 2 * len(self._ranks) + _SLACK:
            self._heap = [(current, other) for other, current in self._ranks.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (rank, name))

    def drop(self, name: str) -> None:
        """Remove a name, if present."""
        self._ranks.pop(name, None)

    def rank(self, name: str) -> Rank:
        """Return the rank of a name, which must be present."""
        return self._ranks[name]

    def first(self, *, but: Collection[str] = ()) -> str | None:
        """Return the name with the lowest rank that is not in ``but``."""
        if but:
            return self.find(lambda name: name not in but)
        heap, ranks = self._heap, self._ranks
        while heap:
            rank, name = heap[0]
            if ranks.get(name) == rank:
                return name
            heappop(heap)
        return None

    def find(self, fits: Callable[[str], bool], *, among: int | None = None) -> str | None:
        """Return the lowest name that ``fits``; give up after ``among`` names that do not."""
        heap, ranks = self._heap, self._ranks
        skipped: list[tuple[Rank, str]] = []
        lowest = None
        while heap and (among is None or len(skipped) < among):
            rank, name = heap[0]
            if ranks.get(name) != rank:
                heappop(heap)
            elif fits(name):
                lowest = name
                break
            else:
                skipped.append(heappop(heap))
        for entry in skipped:
            heappush(heap, entry)
        return lowest
