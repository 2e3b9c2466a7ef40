"""Functions of rows and the rows around them: each task reads a few rows of the others.

The rows are stamped with their places and stay where they are. One stage gives the first and the
last rows of each partition, or one row with the states in which cumulative functions leave it. Then
each task reads these rows of all partitions, puts those of the partitions before its own rows and
those of the partitions after behind them, computes the functions, and drops the rows again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import polars as pl

from minispark.plan.columns import exact_column, exact_columns
from minispark.plan.exchanges import OWN, STAMP, Stamped
from minispark.plan.placed import Reach, input_of, reach_of, with_input
from minispark.plan.polars_plan import expression, leaf_node, parse, with_body
from minispark.plan.relation import Cutter, Part, Relation, Schema
from minispark.plan.rules.operators import OperatorText
from minispark.plan.stages import ReadMode, StageInput

OPERATORS = (
    OperatorText(
        "`cum_sum`, `cum_max` and the like, `forward_fill`, `backward_fill`, `rle_id`, "
        "`int_range(len())`",
        "one value for each partition goes to all tasks, and no row moves",
    ),
    OperatorText(
        "`shift`, `diff`, `pct_change`, `rolling_sum` and the like of a number of rows, fills with "
        "a limit",
        "the first and last rows of each partition go to all tasks, and no row moves",
        "functions that need more than 1,000,000 rows of other partitions in a task",
    ),
)

_SIDE = "__minispark_side"
"""-1 in rows of partitions before, 0 in own rows, 1 in rows of partitions after."""
_NEIGHBOURS = 1_000_000
"""So many rows of other partitions a task may read."""


@dataclass(frozen=True, slots=True)
class _Function:
    """A function of `reach_of`, the column that it reads, and the column that it gives."""

    name: str
    column: str
    rows: pl.Expr
    value: pl.Expr
    """Over ``column``."""
    reach: Reach

    @property
    def state(self) -> pl.Expr:
        """The value from which the function goes on in the next partition."""
        values = self.value.drop_nulls()
        return (values.first() if self.reach.reverse else values.last()).alias(self.column)


def with_placed(cutter: Cutter, relation: Relation, placed: Mapping[str, Any]) -> Relation | None:
    """Add a column for each function; None if they need too many rows of other partitions."""
    schema = cutter.schema(relation)
    functions = [_function(name, body, schema) for name, body in placed.items()]
    if any(function is None for function in functions) or STAMP in schema:
        return None
    known = [function for function in functions if function is not None]
    near = [function for function in known if not function.reach.state]
    before = max((function.reach.before for function in near), default=0)
    after = max((function.reach.after for function in near), default=0)
    if (before + after) * relation.partitions > _NEIGHBOURS:
        return None
    own = stay_stamped(cutter, cutter.settle(relation))
    part = own.only
    if states := [function for function in known if function.reach.state]:
        totals = _read_edges(cutter, own, states, partial(_last_states, functions=states), "states")
        part = _computed(cutter, part, totals, states, None)
    if near:
        edges = _read_edges(
            cutter, own, near, lambda r: _ends(r, first=after, last=before), "edges"
        )
        part = _computed(cutter, part, edges, near, (before, after))
    columns = exact_columns([*schema, *placed])
    return cutter.then(Relation((part,), relation.bytes), lambda r: r.select(columns))


def _function(name: str, body: Any, schema: Schema) -> _Function | None:
    reach = reach_of(body)
    assert reach is not None  # noqa: S101 - the layers hold no other functions
    rows, column = expression(input_of(body)), f"{name}_of"
    frame = pl.LazyFrame(schema=schema)
    if reach.state:
        # The states are values of the function, so it must give what it takes.
        given_rows, result = (
            frame.select(expr).collect_schema().dtypes()[0] for expr in (rows, expression(body))
        )
        if not _is_widened(given_rows, result):
            return None
        rows = rows.cast(result)
    (read,) = frame.select(rows).collect_schema().dtypes()
    value = expression(with_input(body, {"Column": column}))
    (given,) = pl.LazyFrame(schema={column: read}).select(value).collect_schema().dtypes()
    if read == pl.Null or (reach.state and given != read):
        return None
    return _Function(name, column, rows.alias(column), value, reach)


def _is_widened(dtype: pl.DataType, result: pl.DataType) -> bool:
    """Whether a function gives the same over rows that have the dtype of its result.

    Polars plans a dtype also for functions that it then refuses, as the product of decimals.
    """
    whole = dtype.is_integer() or dtype == pl.Boolean
    decimals = dtype.is_decimal() and result.is_decimal()
    return dtype == result or decimals or (whole and result.is_integer())


def stay_stamped(cutter: Cutter, relation: Relation) -> Relation:
    """Give each row the column `STAMP` with its place. No row moves."""
    draft = cutter.close(relation, "places", exchange=Stamped())
    leaf = leaf_node(f"stage{draft.id}", {**draft.schema, STAMP: pl.UInt64()})
    entry = StageInput(leaf.leaf, draft.id, ReadMode.FORWARD)
    return Relation((Part(leaf, relation.partitions, inputs=(entry,)),), draft.bytes)


def _read_edges(
    cutter: Cutter, own: Relation, functions: Sequence[_Function], edges: Any, name: str
) -> Part:
    """Let every task read the edge rows of all partitions."""
    columns = [STAMP, *(function.rows for function in functions)]
    rows = cutter.then(own, lambda r: edges(r.select(columns)))
    draft = cutter.close(rows, name)
    draft.sample = True
    return cutter.read(draft).only


def _last_states(rows: pl.LazyFrame, functions: Sequence[_Function]) -> pl.LazyFrame:
    states = rows.select(exact_column(STAMP).first(), *(function.state for function in functions))
    return states.filter(exact_column(STAMP).is_not_null())


def _ends(rows: pl.LazyFrame, *, first: int, last: int) -> pl.LazyFrame:
    number = pl.int_range(pl.len())
    return rows.filter((number < first) | (number >= pl.len().cast(pl.Int64) - last))


def _computed(
    cutter: Cutter,
    own: Part,
    edges: Part,
    functions: Sequence[_Function],
    trim: tuple[int, int] | None,
) -> Part:
    """Compute functions over own rows between edge rows."""
    schema = cutter.schema(Relation((own,), 0))
    columns = [function.column for function in functions]
    inner = own.then(
        schema,
        lambda r: r.with_columns(
            *(function.rows for function in functions), pl.lit(0, pl.Int8).alias(_SIDE)
        ),
    )
    parts = [inner]
    if any(_reaches(function)[0] for function in functions):
        parts.insert(0, _on_side(cutter, edges, functions, -1))
    if any(_reaches(function)[1] for function in functions):
        parts.append(_on_side(cutter, edges, functions, 1))
    joined = _one_after_another(cutter, own, parts)

    def build(rows: pl.LazyFrame) -> pl.LazyFrame:
        side, stamp = exact_column(_SIDE), exact_column(STAMP)
        mine = stamp.filter(side == 0)
        rows = rows.filter(
            (side == 0)
            | ((side == -1) & (stamp < mine.min()))
            | ((side == 1) & (stamp > mine.max()))
        )
        if trim is not None:
            number = pl.int_range(pl.len())
            of_mine = number.filter(side == 0)
            rows = rows.filter(number.is_between(of_mine.min() - trim[0], of_mine.max() + trim[1]))
        values = [function.value.alias(function.name) for function in functions]
        rows = rows.with_columns(*values, (side == 0).alias(OWN)).filter(exact_column(OWN))
        return rows.drop(_SIDE, OWN, *columns)

    return joined.then(cutter.schema(Relation((joined,), 0)), build)


def _reaches(function: _Function) -> tuple[bool, bool]:
    reach = function.reach
    if reach.state:
        return not reach.reverse, reach.reverse
    return reach.before > 0, reach.after > 0


def _on_side(cutter: Cutter, edges: Part, functions: Sequence[_Function], side: int) -> Part:
    """Return edge rows for one side; a state counts on the side from which it comes only."""
    wanted = [
        function.column
        for function in functions
        if not function.reach.state or function.reach.reverse == (side == 1)
    ]
    columns = [exact_column(STAMP), *exact_columns(wanted), pl.lit(side, pl.Int8).alias(_SIDE)]
    return edges.then(cutter.schema(Relation((edges,), 0)), lambda r: r.select(columns))


def _one_after_another(cutter: Cutter, own: Part, parts: Sequence[Part]) -> Part:
    frames = [pl.LazyFrame(schema=cutter.schema(Relation((part,), 0))) for part in parts]
    node = parse(pl.concat(frames, how="diagonal"))
    top = with_body(node, inputs=[part.node for part in parts])
    return own.under(top, *parts)
