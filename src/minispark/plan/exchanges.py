"""The kinds of exchange: how a task splits its rows, and which rows a task that reads them has.

There is one class for each `OutputKind`. A new kind is a class here and a rule that plans it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import polars as pl

from minispark.plan.columns import columns_of_schema
from minispark.plan.cuts import SortKey, range_of_rows
from minispark.plan.hashing import key_hash
from minispark.plan.stages import Output, OutputKind, ReadMode, SinkSpec, StageInput

READS: Mapping[ReadMode, str] = {
    ReadMode.ALL: "all of",
    ReadMode.PARTITION: "its partition of",
    ReadMode.FORWARD: "the same partition of",
}
STAMP = "__minispark_row"
"""The column with the place of a row before an exchange: its task, then its row there."""
OWN = "__minispark_own"
"""The column that says whether a row is one of the partition of a task, or of another one."""
_ROWS_OF_A_TASK = 1 << 40

_SHUFFLES = {OutputKind.HASH: "shuffle by", OutputKind.RANGE: "shuffle by ranges of"}
_COLUMN = re.compile(r'col\("([^"]+)"\)')
"""A key that is a column alone, as Polars writes it."""

_MASKED_PARTITIONS = 8
"""Up to this many partitions one filter each is fastest; above, `partition_by`. 5M rows x 4
columns on one thread: 2 parts 36 against 300 ms, 8 parts 150 against 310, 64 parts 470 against
280. Sorting by partition and gathering is always slower than the better of the two."""


@dataclass(frozen=True, slots=True)
class Partitioning:
    """Which rows of a stage each task of its reader has; by default the rows of any tasks."""

    everywhere: bool = False
    """Each task has all rows."""
    keys: tuple[pl.Expr, ...] | None = None
    """A task has all rows with equal values of these expressions, or none of them."""
    ordered: tuple[SortKey, ...] | None = None
    """The rows of a task come before those of the next one, in the order of these keys."""
    cuts: str | None = None
    """The leaf that says where the ranges of ``ordered`` begin."""
    ranges: tuple[tuple[int, int], ...] = ()
    """The first and last partition that each task has, if it is not the one of its number."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """The exchange in which rows stay in one partition: gather, broadcast and forward."""

    kind: ClassVar[OutputKind] = OutputKind.SINGLE
    partitions: int = 1
    """Number of partitions of the block of a task."""
    keys: tuple[pl.Expr, ...] = ()
    sink: SinkSpec | None = None
    side_input: str | None = None
    """The leaf whose rows `split` needs, None if it needs none."""

    def output(self, schema: Mapping[str, pl.DataType], take: int | None) -> Output:
        """Return the output of a stage with this exchange."""
        return Output(
            kind=self.kind,
            partitions=self.partitions,
            keys=tuple(key.meta.serialize() for key in self.keys),
            key_texts=tuple(str(key) for key in self.keys),
            sink=self.sink,
            columns=columns_of_schema(schema),
            take=take,
            side_input=self.side_input,
        )

    @property
    def by_place(self) -> bool:
        """Whether the places of rows decide what is delivered, not only in which order."""
        return False

    def split(
        self, frame: pl.DataFrame, side: pl.DataFrame | None = None, *, task: int = 0
    ) -> list[pl.DataFrame]:
        """Return the rows of each partition, in their order.

        ``side`` are the rows of `side_input`, ``task`` is the partition of the stage that the task
        computes.
        """
        del side, task
        return [frame]

    def fits(self, entry: StageInput, *, tasks: int, readers: int) -> bool:
        """Whether ``readers`` tasks can read the blocks of ``tasks`` tasks as ``entry`` says."""
        mode = entry.mode
        return mode is ReadMode.ALL or (mode is ReadMode.FORWARD and tasks == readers)

    def delivers(self, entry: StageInput) -> Partitioning:
        """Return which rows a task has that reads blocks as ``entry`` says."""
        return Partitioning(everywhere=entry.mode is ReadMode.ALL)


@dataclass(frozen=True, slots=True)
class Stamped(Exchange):
    """Rows stay in one partition; each gets the column `STAMP`."""

    def output(self, schema: Mapping[str, pl.DataType], take: int | None) -> Output:
        """Return the output of a stage with this exchange."""
        return replace(Exchange.output(self, schema, take), stamped=True)

    @property
    def by_place(self) -> bool:
        """Return True: in another order, other rows would have a stamp."""
        return True

    def split(
        self, frame: pl.DataFrame, side: pl.DataFrame | None = None, *, task: int = 0
    ) -> list[pl.DataFrame]:
        """Return all rows, in their order."""
        del side
        return [_with_stamps(frame, task)]


@dataclass(frozen=True, slots=True)
class Hash(Exchange):
    """Rows with equal keys meet in one partition.

    If ``stamped``, each row gets the column `STAMP`, so that the rows can be put in order again.
    """

    kind = OutputKind.HASH
    stamped: bool = False

    def output(self, schema: Mapping[str, pl.DataType], take: int | None) -> Output:
        """Return the output of a stage with this exchange."""
        return replace(Exchange.output(self, schema, take), stamped=self.stamped)

    @property
    def by_place(self) -> bool:
        """Whether rows are stamped: in another order, other rows would have a stamp."""
        return self.stamped

    def split(
        self, frame: pl.DataFrame, side: pl.DataFrame | None = None, *, task: int = 0
    ) -> list[pl.DataFrame]:
        """Return the rows of each partition, in their order."""
        del side
        if self.stamped:
            frame = _with_stamps(frame, task)
        if frame.height == 0:
            return [frame] * self.partitions
        place = (key_hash(frame, self.keys) % self.partitions).cast(pl.UInt32)
        return _parts(frame, place, self.partitions)

    def fits(self, entry: StageInput, *, tasks: int, readers: int) -> bool:
        """Whether each partition has one reader."""
        del tasks
        return _each_read_once(entry, readers, self.partitions)

    def delivers(self, entry: StageInput) -> Partitioning:
        """Return that a task has all rows with equal keys."""
        return Partitioning(keys=self.keys, ranges=entry.ranges)


@dataclass(frozen=True, slots=True)
class RangeExchange(Exchange):
    """Rows of one range of the sort order meet in one partition, ranges in order.

    The cuts between the ranges come from a side input (`minispark.plan.cuts`). Equal keys are
    ordered by task, then by row, so ranges may be cut between them.
    """

    kind = OutputKind.RANGE
    descending: tuple[bool, ...] = ()
    nulls_last: tuple[bool, ...] = ()

    def output(self, schema: Mapping[str, pl.DataType], take: int | None) -> Output:
        """Return the output of a stage with this exchange."""
        output = Exchange.output(self, schema, take)
        return replace(output, descending=self.descending, nulls_last=self.nulls_last)

    @property
    def by_place(self) -> bool:
        """Return True: equal keys are cut by their numbers; in another order, other rows meet."""
        return True

    def split(
        self, frame: pl.DataFrame, side: pl.DataFrame | None = None, *, task: int = 0
    ) -> list[pl.DataFrame]:
        """Return the rows of each partition, in their order."""
        assert side is not None  # noqa: S101 - the planner names a side input
        if frame.height == 0:
            return [frame] * self.partitions
        return _parts(frame, range_of_rows(frame, self.sort_keys, side, task=task), self.partitions)

    def fits(self, entry: StageInput, *, tasks: int, readers: int) -> bool:
        """Whether each partition has one reader."""
        del tasks
        return _each_read_once(entry, readers, self.partitions)

    def delivers(self, entry: StageInput) -> Partitioning:
        """Return that the rows of a task come before those of the next one."""
        return Partitioning(ordered=self.sort_keys, cuts=self.side_input, ranges=entry.ranges)

    @property
    def sort_keys(self) -> tuple[SortKey, ...]:
        """The keys with their order."""
        return tuple(map(SortKey, self.keys, self.descending, self.nulls_last))


@dataclass(frozen=True, slots=True)
class Sink(Exchange):
    """Rows are written as files, which no task reads."""

    kind = OutputKind.SINK

    def fits(self, entry: StageInput, *, tasks: int, readers: int) -> bool:
        """Return False: there are no blocks."""
        del entry, tasks, readers
        return False


_KINDS: Mapping[OutputKind, type[Exchange]] = {kind.kind: kind for kind in (Exchange, Hash, Sink)}


def exchange_of(output: Output) -> Exchange:
    """Return the exchange of a task. Its keys are code: only executors open them."""
    keys = tuple(pl.Expr.deserialize(io.BytesIO(key)) for key in output.keys)
    if output.kind is OutputKind.RANGE:
        order = output.descending, output.nulls_last
        return RangeExchange(output.partitions, keys, output.sink, output.side_input, *order)
    if output.kind is OutputKind.HASH:
        return Hash(output.partitions, keys, stamped=output.stamped)
    if output.kind is OutputKind.SINGLE and output.stamped:
        return Stamped()
    return _KINDS[output.kind](output.partitions, keys, output.sink)


def first_stamp(task: int) -> int:
    """Return the stamp of the first row of a task."""
    return task * _ROWS_OF_A_TASK


def _with_stamps(frame: pl.DataFrame, task: int) -> pl.DataFrame:
    places = pl.int_range(frame.height, dtype=pl.UInt64, eager=True) + first_stamp(task)
    return frame.with_columns(places.alias(STAMP))


def describe_output(output: Output) -> str:
    """Return what a task does with its rows, in words, for `explain`."""
    if output.sink is not None:
        return f"{output.sink.format} files in {output.sink.path}"
    if output.kind is OutputKind.SINGLE:
        return "one partition a task"
    count = output.partitions
    how = _SHUFFLES[output.kind]
    return f"{how} {_keys(output)} into {count} partition{'' if count == 1 else 's'}"


def describe_move(output: Output, mode: ReadMode, *, readers: int) -> str:
    """Return how rows get to the ``readers`` tasks that read them, in words, for pictures."""
    match mode:
        case ReadMode.FORWARD:
            return "same partition"
        case ReadMode.PARTITION:
            return f"{_SHUFFLES[output.kind]} {_keys(output)} → {output.partitions}"
        case ReadMode.ALL:
            return "gather" if readers == 1 else f"broadcast to {readers}"


def _keys(output: Output) -> str:
    columns = (_COLUMN.fullmatch(text) or text for text in output.key_texts)
    return ", ".join(key if isinstance(key, str) else key[1] for key in columns) or "its keys"


def _each_read_once(entry: StageInput, readers: int, partitions: int) -> bool:
    if entry.mode is not ReadMode.PARTITION or not entry.fits(readers, partitions):
        return False
    return sum(len(entry.parts(number)) for number in range(readers)) == partitions


def _parts(frame: pl.DataFrame, place: pl.Series, count: int) -> list[pl.DataFrame]:
    if count <= _MASKED_PARTITIONS:
        return [frame.filter(place == number) for number in range(count)]
    # Longer than the name of every column, so none of them.
    name = max(frame.columns, key=len, default="") + "_"
    parts = frame.with_columns(place.alias(name)).partition_by(
        name, maintain_order=True, include_key=False, as_dict=True
    )
    nothing = frame.clear()
    return [parts.get((number,), nothing) for number in range(count)]
