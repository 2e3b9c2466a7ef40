"""The one way in which reading a block fails."""

from __future__ import annotations

from minispark.ids import TaskKey


class BlockUnavailable(Exception):  # noqa: N818 - a state of the world, not a mistake
    """A block is gone, refused or not what its receipt promised.

    Whatever the cause, the cure is the same: the task that made it must run again. So the
    reason is for people only.
    """

    def __init__(self, key: TaskKey, reason: str) -> None:
        super().__init__(f"block {key.block_id}: {reason}")
        self.key = key
        self.reason = reason

    def __reduce__(self) -> tuple[type[BlockUnavailable], tuple[TaskKey, str]]:
        return type(self), (self.key, self.reason)
