"""A queue whose members change their rank all the time.

Covers: `LazyHeap`, under the line of jobs (`turns`) and those of workers (`lines`). Does not cover:
what a rank is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush

Rank = tuple[float, ...]

_SLACK = 64


class LazyHeap:
    """Names by rank, the lowest first.

    An entry of the heap whose rank is not the name's present one is void; when most are, the
    heap is made anew, so that each call costs a logarithm in the long run.
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
        """Let a name in, or give it another rank."""
        if self._ranks.get(name) == rank:
            return
        self._ranks[name] = rank
        if len(self._heap) > 2 * len(self._ranks) + _SLACK:
            self._heap = [(known, other) for other, known in self._ranks.items()]
            heapify(self._heap)
        else:
            heappush(self._heap, (rank, name))

    def drop(self, name: str) -> None:
        """Let a name go, if it is there."""
        self._ranks.pop(name, None)

    def rank(self, name: str) -> Rank:
        """Return the rank of a name that is in."""
        return self._ranks[name]

    def first(self, *, but: Collection[str] = ()) -> str | None:
        """Return the name of the lowest rank, of those not in ``but``."""
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
        """Return the name of the lowest rank that ``fits``, looking at so many at most."""
        heap, ranks = self._heap, self._ranks
        aside: list[tuple[Rank, str]] = []
        found = None
        while heap and (among is None or len(aside) < among):
            rank, name = heap[0]
            if ranks.get(name) != rank:
                heappop(heap)
            elif fits(name):
                found = name
                break
            else:
                aside.append(heappop(heap))
        for entry in aside:
            heappush(heap, entry)
        return found
