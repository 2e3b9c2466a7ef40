"""The operators of a JSON job as models with their fields.

Covers: names, types and ranges of fields. Does not cover: rules over several fields and the shape
of the DAG (`contract`), what an operator does (`transforms`).
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

_MAX_NAME_CHARS = 200
_MAX_PARTITIONS = 65_536
"""A larger number is probably mistyped."""
_MAX_LIMIT = (1 << 63) - 1

Name = Annotated[str, Field(min_length=1, max_length=_MAX_NAME_CHARS)]
Count = Annotated[int, Field(ge=1, le=_MAX_PARTITIONS)]
Path = Annotated[str, Field(min_length=1)]
Paths = Path | Annotated[list[Path], Field(min_length=1)]
Names = str | Annotated[list[str], Field(min_length=1)]
Expressions = Annotated[dict[str, str], Field(min_length=1)]
Reducer = Literal["sum", "count", "min", "max", "mean"]


def names(value: Names | None) -> list[str]:
    """Return the value of a field, which is one name or a list of names, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else value


class Operator(BaseModel):
    """The fields of every node."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: Name
    op: str


class Read(Operator):
    """The fields of every reader."""

    path: Paths
    partitions: Count | None = None


class ReadAny(Read):
    """Rows of files whose format is known from their endings."""

    op: Literal["read"]


class ReadCsv(Read):
    """Rows of CSV files."""

    op: Literal["read_csv"]
    separator: str = ","
    has_header: bool = True
    schema_: dict[str, str] | None = Field(None, alias="schema", min_length=1)
    null_values: str | list[str] | dict[str, str] | None = None


class ReadText(Read):
    """Lines of text files, in one column ``text``."""

    op: Literal["read_text"]


class ReadJsonl(Read):
    """Records of JSON lines."""

    op: Literal["read_jsonl"]
    schema_: dict[str, str] | None = Field(None, alias="schema", min_length=1)
    infer_rows: Annotated[int, Field(ge=1, le=_MAX_LIMIT)] | None = None


class ReadParquet(Read):
    """Rows of Parquet files."""

    op: Literal["read_parquet"]


class FlatMap(Operator):
    """The words of a column, one a row."""

    op: Literal["flat_map"]
    fn: Literal["tokenize", "split_words"]
    column: str | None = None


class Map(Operator):
    """A column changed by a named function, or columns by expressions."""

    op: Literal["map"]
    fn: (
        Literal[
            "to_lower",
            "to_upper",
            "trim",
            "reverse",
            "strip_punctuation",
            "length",
            "pair_with_one",
        ]
        | None
    ) = None
    column: str | None = None
    expr: Expressions | None = None


class Filter(Operator):
    """The rows that pass a condition."""

    op: Literal["filter"]
    where: str | None = None
    fn: Literal["non_empty", "contains_alpha"] | None = None
    column: str | None = None


class ReduceByKey(Operator):
    """One row for each key."""

    op: Literal["reduce_by_key"]
    key: Names = "key"
    value: str | None = None
    fn: Reducer


class Reduce(Operator):
    """One row for all rows."""

    op: Literal["reduce"]
    value: str | None = None
    fn: Reducer


class Join(Operator):
    """Two tables joined by equal keys."""

    op: Literal["join"]
    on: Names | None = None
    left_on: Names | None = None
    right_on: Names | None = None
    how: Literal["inner", "left", "right", "full", "semi", "anti", "cross"] = "inner"
    suffix: str = "_right"


class Aggregate(Operator):
    """Aggregates for each key, or over all rows."""

    op: Literal["aggregate"]
    by: str | list[str] | None = None
    aggs: Expressions


class Select(Operator):
    """Some columns, or expressions."""

    op: Literal["select"]
    columns: Annotated[list[str], Field(min_length=1)] | Expressions


class Sql(Operator):
    """A query over tables named as the input nodes."""

    op: Literal["sql"]
    query: Annotated[str, Field(min_length=1)]


class Union(Operator):
    """The rows of all inputs, one input after another."""

    op: Literal["union"]


class Distinct(Operator):
    """Each different row once."""

    op: Literal["distinct"]
    subset: Names | None = None


class Sort(Operator):
    """Sorted rows."""

    op: Literal["sort"]
    by: Names
    descending: bool | list[bool] = False
    nulls_last: bool | list[bool] = False


class Limit(Operator):
    """The first rows."""

    op: Literal["limit"]
    n: Annotated[int, Field(ge=0, le=_MAX_LIMIT)]


class Repartition(Operator):
    """The same rows in ``n`` partitions."""

    op: Literal["repartition"]
    n: Count


class Cache(Operator):
    """The same rows, cached for later jobs."""

    op: Literal["cache"]


class Write(Operator):
    """The fields of every writer."""

    path: Path
    overwrite: bool = False


class WriteCsv(Write):
    """CSV files in a directory."""

    op: Literal["write_csv"]


class WriteJsonl(Write):
    """JSON lines in a directory."""

    op: Literal["write_jsonl"]


class WriteParquet(Write):
    """Parquet files in a directory."""

    op: Literal["write_parquet"]


_READERS = (ReadAny, ReadCsv, ReadText, ReadJsonl, ReadParquet)
_ROWS = (FlatMap, Map, Filter, ReduceByKey, Reduce, Join, Aggregate, Select, Sql, Union)
_ORDER = (Distinct, Sort, Limit, Repartition, Cache)
_WRITERS = (WriteCsv, WriteJsonl, WriteParquet)

OPERATORS: dict[str, type[Operator]] = {
    get_args(kind.model_fields["op"].annotation)[0]: kind
    for kind in (*_READERS, *_ROWS, *_ORDER, *_WRITERS)
}
"""The operators by name."""
