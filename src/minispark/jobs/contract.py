"""Checks a JSON job as far as possible without opening a file.

`parse_job` returns a `JsonJob`, or raises an error that says in one sentence what is wrong, in
which node and field, and which name was probably meant. It stops at the first mistake.

Covers: sizes, fields and their rules, what SQL may hold, the shape of the DAG. Does not cover:
columns, paths, types (`compile`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from minispark.errors import UsageError
from minispark.jobs import operators
from minispark.jobs.dag import order_nodes
from minispark.jobs.errors import fail, node_error
from minispark.plan.sqlreads import table_reads
from minispark.plan.sqltext import SqlRefusedError, check_expression, check_query
from minispark.printable import did_you_mean, listed, shown
from minispark.settings import MAX_WEIGHT, MIN_WEIGHT, Limits

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class JsonJob:
    """A checked job: ``nodes`` with inputs first, ``inputs`` of each in the order of the edges."""

    name: str
    nodes: tuple[operators.Operator, ...]
    inputs: Mapping[str, tuple[str, ...]]
    parallelism: int | None = None

    @property
    def ends(self) -> tuple[operators.Operator, ...]:
        """The nodes that no other node reads: results and writers."""
        read = {source for inputs in self.inputs.values() for source in inputs}
        return tuple(node for node in self.nodes if node.id not in read)


class _Dag(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    nodes: list[Any]
    edges: list[Annotated[list[str], Field(min_length=2, max_length=2)]] = []


class _Job(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(max_length=200)] = "job"
    dag: _Dag
    parallelism: operators.Count | None = None
    weight: Annotated[float, Field(ge=MIN_WEIGHT, le=MAX_WEIGHT)] = 1.0
    """The share of the job in the workers, relative to other jobs; only the master uses it."""


def parse_job(obj: object, *, limits: Limits | None = None) -> JsonJob:
    """Return the job that a JSON value holds.

    Raises
    ------
    UsageError
        The value is not a valid job; ``info`` names the node and the field.
    """
    limits = limits or Limits()
    if not isinstance(obj, Mapping):
        msg = f"a job is a JSON object, not {_kind(obj)}"
        raise UsageError(msg, code="MS-160", hint='it begins with {"name": ..., "dag": ...}')
    _check_sizes(obj, limits)
    outer = _validate(_Job, obj, where="the job")
    if not outer.dag.nodes:
        msg = "the job has no nodes"
        raise UsageError(msg, code="MS-162", field="dag.nodes", hint="add at least a read_* node")
    nodes = [_parse_node(node, position) for position, node in enumerate(outer.dag.nodes)]
    for node in nodes:
        _check_rules(node)
        _check_sql(node, limits)
    ordered, inputs = order_nodes(nodes, [(source, reader) for source, reader in outer.dag.edges])
    _check_reads(ordered, inputs, limits)
    return JsonJob(outer.name, tuple(ordered), inputs, outer.parallelism)


def _check_sizes(obj: Mapping[Any, Any], limits: Limits) -> None:
    try:
        json.dumps(obj, ensure_ascii=False).encode()
    except RecursionError:
        raise UsageError("the job is nested too deeply", code="MS-163") from None
    except (TypeError, ValueError) as error:
        msg = f"the job is not valid JSON: {error}"
        raise UsageError(msg, code="MS-160") from None
    dag = obj.get("dag")
    for field, limit in (("nodes", limits.nodes), ("edges", limits.edges)):
        items = dag.get(field) if isinstance(dag, Mapping) else None
        if isinstance(items, list) and len(items) > limit:
            msg = f"the job has {len(items)} {field}; at most {limit} are allowed"
            raise UsageError(msg, code="MS-163", field=f"dag.{field}")


def check_texts(obj: object, limits: Limits) -> None:
    """Refuse a job of a stranger with texts or nesting that later checks would take long over.

    Raises
    ------
    UsageError
        A node has a text that is too long, or is nested too deeply.
    """
    dag = obj.get("dag") if isinstance(obj, Mapping) else None
    nodes = dag.get("nodes") if isinstance(dag, Mapping) else None
    for node in nodes if isinstance(nodes, list) else ():
        values = [(node, 0)]
        while values:
            value, depth = values.pop()
            if depth > limits.expression_depth:
                raise _too_large(node, "the node is nested too deeply")
            if isinstance(value, str) and len(value) > limits.expression_chars:
                most = limits.expression_chars
                raise _too_large(node, f"a text has {len(value)} characters; at most {most} fit")
            if isinstance(value, dict):
                values += [(item, depth + 1) for item in value.values()]
            elif isinstance(value, list):
                values += [(item, depth + 1) for item in value]


def _too_large(node: object, message: str) -> UsageError:
    name = str(node.get("id"))[:100] if isinstance(node, dict) else None
    return UsageError(message, code="MS-163", node=name)


def _parse_node(node: object, position: int) -> operators.Operator:
    if not isinstance(node, Mapping):
        msg = f"node number {position + 1} must be an object, not {_kind(node)}"
        raise UsageError(msg, code="MS-160", field="dag.nodes")
    name, op = node.get("id"), node.get("op")
    if not isinstance(name, str) or not name:
        msg = f'node number {position + 1} needs an "id": a non-empty text'
        raise UsageError(msg, code="MS-160", field="id")
    if not isinstance(op, str):
        msg = f'node {shown(name)} needs an "op": the name of an operator'
        raise UsageError(msg, code="MS-160", node=name, field="op")
    if op not in operators.OPERATORS:
        msg = f"node {shown(name)} has an unknown operator {shown(op)}"
        hint = did_you_mean(op, operators.OPERATORS, else_list="operators are")
        raise UsageError(msg, code="MS-161", node=name, field="op", hint=hint)
    return _validate(operators.OPERATORS[op], node, where=f"node {shown(name)} ({op})", node=name)


def _validate(
    model: type[_Model], fields: Mapping[Any, Any], *, where: str, node: str | None = None
) -> _Model:
    try:
        return model.model_validate(dict(fields))
    except ValidationError as error:
        raise _mistake(model, error, where=where, node=node) from None


_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}


def _mistake(
    model: type[BaseModel], error: ValidationError, *, where: str, node: str | None
) -> UsageError:
    """Return the first mistake that pydantic found; unknown fields come first, as mistyped ones."""
    mistakes = sorted(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
    first = mistakes[0]
    path = [part for part in first["loc"] if isinstance(part, str)]
    nested = model is _Job and path[:1] == ["dag"] and len(path) > 1
    field = ".".join(path[:2]) if nested else (path[0] if path else "")
    if first["type"] == "extra_forbidden":
        fields = (_Dag if nested else model).model_fields.items()
        names = [definition.alias or name for name, definition in fields]
        hint = did_you_mean(path[-1], names, else_list="fields are")
        msg = f"{where} has an unknown field {shown(path[-1])}"
        return UsageError(msg, code="MS-160", node=node, field=field, hint=hint)
    if first["type"] == "missing":
        msg = f"{where} needs the field {shown(field)}"
        return UsageError(msg, code="MS-160", node=node, field=field)
    if first["type"] == "literal_error":
        return _not_one_of(first, where=where, node=node, field=field)
    alternatives = [entry for entry in mistakes if entry["loc"][:1] == first["loc"][:1]]
    wanted = " or ".join(dict.fromkeys(_expected(dict(entry), field) for entry in alternatives))
    msg = f"{shown(field)} of {where} must be {wanted}, not {shown(first['input'])}"
    return UsageError(msg, code="MS-160", node=node, field=field)


def _not_one_of(entry: Any, *, where: str, node: str | None, field: str) -> UsageError:
    expected = entry["ctx"]["expected"].replace(" or ", ", ").split(", ")
    names = [name.strip("'") for name in expected]
    value = entry["input"]
    kind = "function" if field == "fn" else "value"
    msg = f"{where} has an unknown {kind} {shown(value)} in {shown(field)}"
    hint = did_you_mean(str(value), names) or f"known are {listed(names)}"
    return UsageError(msg, code="MS-161", node=node, field=field, hint=hint)


def _expected(entry: dict[str, Any], field: str) -> str:
    kind, limits = entry["type"], entry.get("ctx", {})
    inner = " in it" if len([p for p in entry["loc"] if p != field]) > 1 else ""
    if kind in _EXPECTED:
        return _EXPECTED[kind] + inner
    match kind:
        case "greater_than_equal":
            return f"at least {limits['ge']:,}"
        case "less_than_equal":
            return f"at most {limits['le']:,}"
        case "string_too_short" | "too_short" if limits.get("min_length") == 1:
            return "not empty"
        case "string_too_long":
            return f"at most {limits['max_length']} characters long"
        case "too_short" | "too_long":
            return "pairs of node ids, [from, to]" if field == "dag.edges" else "of another length"
    return str(entry["msg"])


def _kind(value: object) -> str:
    for kinds, name in (
        (bool, "true or false"),
        (str, "a text"),
        ((int, float), "a number"),
        (list, "a list"),
        (Mapping, "an object"),
    ):
        if isinstance(value, kinds):
            return name
    return "null" if value is None else json.dumps(str(type(value).__name__))


def _check_rules(node: operators.Operator) -> None:
    """Check the rules over several fields."""
    match node:
        case operators.ReadCsv() | operators.ReadJsonl():
            _check_reader(node)
        case operators.Map():
            _check_one_of(node, ("fn", node.fn), ("expr", node.expr))
            if node.expr is not None and node.column is not None:
                _refuse(node, "column", 'is only allowed with "fn"')
        case operators.Filter():
            _check_one_of(node, ("where", node.where), ("fn", node.fn))
            if node.where is not None and node.column is not None:
                _refuse(node, "column", 'is only allowed with "fn"')
        case operators.Join():
            _check_join(node)
        case operators.Sort():
            for field in ("descending", "nulls_last"):
                value = getattr(node, field)
                if isinstance(value, list) and len(value) != len(operators.names(node.by)):
                    _refuse(node, field, 'must have one value for each column of "by"')


def _check_sql(node: operators.Operator, limits: Limits) -> None:
    """Check SQL before Polars reads it: it may read files, or be nested too deeply for Polars."""
    bounds = {"max_chars": limits.expression_chars, "max_depth": limits.expression_depth}
    for field, text in _expressions(node):
        try:
            if isinstance(node, operators.Sql):
                check_query(text, **bounds)
            else:
                check_expression(text, **bounds)
        except SqlRefusedError as error:
            fail(node, field, f"{shown(text)}: {error.message}", hint=error.hint)


def _check_reads(
    ordered: Sequence[operators.Operator], inputs: Mapping[str, tuple[str, ...]], limits: Limits
) -> None:
    """Limit how often queries read tables: the plan holds a table as often as it is read."""
    sizes: dict[str, int] = {}
    for node in ordered:
        tables = {name.lower(): sizes[name] for name in inputs[node.id]}
        sizes[node.id] = max(tables.values(), default=1)
        if not isinstance(node, operators.Sql):
            continue
        reads = table_reads(node.query, max_chars=limits.expression_chars)
        size = sum(times * tables.get(name, 1) for name, times in reads.items())
        if size > limits.query_tables:
            most = limits.query_tables
            msg = f"the query reads more than {most} tables, each counted as often as it is used"
            hint = "tables of WITH and of queries before this one count with all that they read"
            fail(node, "query", msg, code="MS-163", hint=hint)
        sizes[node.id] = max(size, 1)


def _expressions(node: operators.Operator) -> list[tuple[str, str]]:
    match node:
        case operators.Map(expr=dict(texts)):
            return [("expr", text) for text in texts.values()]
        case operators.Aggregate(aggs=texts):
            return [("aggs", text) for text in texts.values()]
        case operators.Select(columns=dict(texts)):
            return [("columns", text) for text in texts.values()]
        case operators.Filter(where=str(text)):
            return [("where", text)]
        case operators.Sql(query=text):
            return [("query", text)]
    return []


def _check_reader(node: operators.ReadCsv | operators.ReadJsonl) -> None:
    if isinstance(node, operators.ReadCsv):
        one_byte = len(node.separator.encode()) == 1 and node.separator not in '"\r\n'
        if not one_byte:
            _refuse(node, "separator", "must be one ASCII character, no quote or line break")
    elif node.schema_ is not None and node.infer_rows is not None:
        _refuse(node, "infer_rows", 'does not go with "schema": nothing is inferred')


def _check_join(node: operators.Join) -> None:
    keys = [field for field in ("on", "left_on", "right_on") if getattr(node, field) is not None]
    if node.how == "cross":
        if keys:
            _refuse(node, keys[0], 'is not allowed in a join with "how": "cross"')
        return
    if keys == ["on"]:
        return
    if not keys:
        _refuse(node, "on", 'is needed (or "left_on" and "right_on")')
    if "on" in keys:
        _refuse(node, keys[1], 'does not go with "on"')
    for field in ("left_on", "right_on"):
        if field not in keys:
            _refuse(node, field, f'is needed, as "{keys[0]}" is given')
    if len(operators.names(node.left_on)) != len(operators.names(node.right_on)):
        _refuse(node, "right_on", 'must name as many columns as "left_on"')


def _check_one_of(node: operators.Operator, *fields: tuple[str, object]) -> None:
    present = [name for name, value in fields if value is not None]
    both = " or ".join(f'"{name}"' for name, _ in fields)
    if not present:
        raise node_error(node, f" needs {both}", field=fields[0][0], code="MS-160")
    if len(present) > 1:
        raise node_error(node, f" takes {both}, not both", field=present[1], code="MS-160")


def _refuse(node: operators.Operator, field: str, rule: str) -> None:
    msg = f"{shown(field)} of node {shown(node.id)} ({node.op}) {rule}"
    raise UsageError(msg, code="MS-160", node=node.id, field=field)
