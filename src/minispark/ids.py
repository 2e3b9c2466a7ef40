"""Names of things: jobs, tasks, attempts, blocks.

A name never repeats, over restarts and wiped state directories: a job id holds the id of the
cluster (made with the state directory), the epoch of the master and a counter.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

__all__ = ["TaskKey", "job_id"]

_BLOCK_ID = re.compile(
    r"(?P<job>[a-z0-9-]+)\.(?P<stage>\d+)\.(?P<generation>\d+)\.(?P<partition>\d+)\.(?P<attempt>\d+)"
)


def job_id(cluster: str, epoch: int, number: int) -> str:
    """Return the id of the ``number``-th job of this master's life, e.g. ``job-3f9a-1-7``."""
    return f"job-{cluster}-{epoch}-{number}"


class TaskKey(NamedTuple):
    """One attempt of one task. Attempts are append-only: a retry is a new key.

    ``generation`` counts how often the stage as a whole was rolled back, from 0. A tuple, since
    the scheduler looks up a dozen of them for each report; in JSON it is an object.
    """

    job: str
    stage: int
    generation: int
    partition: int
    attempt: int

    @property
    def block_id(self) -> str:
        """Name of the block file that this attempt writes."""
        return f"{self.job}.{self.stage}.{self.generation}.{self.partition}.{self.attempt}"

    @classmethod
    def parse(cls, block_id: str) -> TaskKey:
        """Read a block id back; raise ValueError for anything else (block ids come from peers)."""
        match = _BLOCK_ID.fullmatch(block_id)
        if match is None:
            msg = f"not a block id: {block_id[:80]!r}"
            raise ValueError(msg)
        parts = match.groupdict()
        return cls(
            parts["job"],
            int(parts["stage"]),
            int(parts["generation"]),
            int(parts["partition"]),
            int(parts["attempt"]),
        )

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        text, number = core_schema.str_schema(), core_schema.int_schema()
        fields = core_schema.typed_dict_schema(
            {
                name: core_schema.typed_dict_field(text if name == "job" else number)
                for name in cls._fields
            }
        )
        named = core_schema.no_info_after_validator_function(lambda found: cls(**found), fields)
        known = core_schema.is_instance_schema(cls)
        return core_schema.json_or_python_schema(
            json_schema=named,
            python_schema=core_schema.union_schema([known, named], mode="left_to_right"),
            serialization=core_schema.plain_serializer_function_ser_schema(
                cls._asdict, return_schema=fields
            ),
        )
