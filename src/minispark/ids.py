"""Ids of jobs, attempts and blocks.

An id never repeats, also after a restart or with a new state directory: a job id holds the id of
the cluster (made with the state directory), the epoch of the master and a counter.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from minispark.bounds import MAX_COUNT

_MAX_JOB_CHARS = 1_000
_JOB = "[a-z0-9-]+"
BLOCK_ID = rf"({_JOB})\.([0-9]+)\.([0-9]+)\.([0-9]+)\.([0-9]+)"
"""The pattern of `TaskKey.block_id`."""
_BLOCK_ID = re.compile(BLOCK_ID)


JOB_ID = re.compile(r"job-[a-z0-9]+-[0-9]+-[0-9]+")
"""The pattern of a whole `job_id`."""


def job_id(cluster: str, epoch: int, number: int) -> str:
    """Return the id of the ``number``-th job of an epoch of the master, e.g. ``job-3f9a-1-7``."""
    return f"job-{cluster}-{epoch}-{number}"


class TaskKey(NamedTuple):
    """The key of one attempt of one task. Keys are never reused: a retry is a new key.

    ``generation`` counts how often the whole stage was rolled back, from 0. The key is a tuple,
    since the scheduler looks up a dozen keys for each report; in JSON it is an object.
    """

    job: str
    stage: int
    generation: int
    partition: int
    attempt: int

    @property
    def block_id(self) -> str:
        """The name of the block that this attempt writes."""
        return f"{self.job}.{self.stage}.{self.generation}.{self.partition}.{self.attempt}"

    @property
    def attempt_number(self) -> int:
        """The number of the attempt for people, who count from 1. Ids and REST count from 0."""
        return self.attempt + 1

    @classmethod
    def parse(cls, block_id: str) -> TaskKey:
        """Return the key of a block id from a peer; raise ValueError if it is not one."""
        match = _BLOCK_ID.fullmatch(block_id)
        if match is None:
            msg = f"not a block id: {block_id[:80]!r}"
            raise ValueError(msg)
        job, stage, generation, partition, attempt = match.groups()
        return cls(job, int(stage), int(generation), int(partition), int(attempt))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> dict[str, Any]:
        # As a dictionary, since modules that the scheduler imports do not import pydantic.
        number = {"type": "int", "ge": 0, "le": MAX_COUNT}
        # The job becomes part of the name of a file.
        job = {"type": "str", "max_length": _MAX_JOB_CHARS, "pattern": f"^{_JOB}$"}
        kinds = {name: job if name == "job" else number for name in cls._fields}
        fields = {
            name: {"type": "typed-dict-field", "schema": kind, "required": True}
            for name, kind in kinds.items()
        }
        plain = {"type": "typed-dict", "fields": fields}
        build = {"type": "no-info", "function": lambda values: cls(**values)}
        from_json = {"type": "function-after", "function": build, "schema": plain}
        is_key = {"type": "is-instance", "cls": cls}
        either = {"type": "union", "choices": [is_key, from_json], "mode": "left_to_right"}
        written = {"type": "function-plain", "function": cls._asdict, "return_schema": plain}
        return {
            "type": "json-or-python",
            "json_schema": from_json,
            "python_schema": either,
            "serialization": written,
        }
