"""Wrong jobs: each is refused with its own sentence, naming node and field."""

from itertools import pairwise
from typing import Any

import pytest
from tests.jobs.job_kit import Job, chain, fan_in, refused

from minispark.errors import UsageError
from minispark.jobs import parse_job
from minispark.settings import Limits

READ: dict[str, Any] = {"id": "read", "op": "read_text", "path": "x.txt"}
OTHER: dict[str, Any] = {"id": "other", "op": "read_text", "path": "y.txt"}
WORDS: dict[str, Any] = {"id": "words", "op": "flat_map", "fn": "tokenize"}


def node(op: str, **fields: Any) -> dict[str, Any]:
    return chain(READ, {"id": "n", "op": op, **fields})


def edges(*pairs: Any, nodes: Any = (READ, WORDS)) -> dict[str, Any]:
    return {"dag": {"nodes": list(nodes), "edges": list(pairs)}}


WRONG = [
    # job, code, node, field, part of the message, part of the hint
    ([1], "160", None, None, "a job is a JSON object, not a list", "dag"),
    ("x", "160", None, None, "not a text", "dag"),
    ({}, "160", None, "dag", "needs the field 'dag'", None),
    ({"dag": []}, "160", None, "dag", "must be an object", None),
    ({"dag": {"nodes": []}}, "162", None, "dag.nodes", "no nodes", "read_"),
    ({"dag": {"node": [READ]}}, "160", None, "dag.node", "unknown field 'node'", "'nodes'"),
    ({"dag": {"nodes": {}}}, "160", None, "dag.nodes", "must be a list", None),
    ({"dag": {"nodes": [7]}}, "160", None, "dag.nodes", "node number 1 must be an object", None),
    ({"dag": {"nodes": [READ]}, "nmae": "x"}, "160", None, "nmae", "'nmae'", "'name'"),
    (chain(READ, name=3), "160", None, "name", "must be a text", None),
    (chain(READ, parallelism=0), "160", None, "parallelism", "at least 1", None),
    (chain(READ, weight=0), "160", None, "weight", "at least 0.01", None),
    (chain(READ, weight=101), "160", None, "weight", "at most 100", None),
    (chain(READ, weight="high"), "160", None, "weight", "valid number", None),
    (chain(READ, parallelism=65_537), "160", None, "parallelism", "at most 65,536", None),
    (chain(READ, parallelism="4"), "160", None, "parallelism", "a whole number", None),
    (chain(READ, parallelism=True), "160", None, "parallelism", "a whole number", None),
    (chain(READ, parallelism=1.5), "160", None, "parallelism", "a whole number", None),
    ({"dag": {"nodes": [{"op": "read_text"}]}}, "160", None, "id", 'needs an "id"', None),
    ({"dag": {"nodes": [{"id": "", "op": "x"}]}}, "160", None, "id", 'needs an "id"', None),
    ({"dag": {"nodes": [{"id": "a"}]}}, "160", "a", "op", 'needs an "op"', None),
    (chain({**READ, "id": "x" * 201}), "160", "x" * 201, "id", "at most 200", None),
    (node("flatmap", fn="tokenize"), "161", "n", "op", "unknown operator 'flatmap'", "'flat_map'"),
    (node("READ_CSV", path="x"), "161", "n", "op", "'READ_CSV'", "'read_csv'"),
    (node("zzz"), "161", "n", "op", "'zzz'", "operators are"),
    (node("cache", n=1), "160", "n", "n", "unknown field 'n'", None),
    # fields
    (node("flat_map"), "160", "n", "fn", "needs the field 'fn'", None),
    (node("flat_map", fn="tokenise"), "161", "n", "fn", "function 'tokenise'", "'tokenize'"),
    (node("flat_map", fn="qq"), "161", "n", "fn", "function 'qq'", "'split_words'"),
    (node("flat_map", fn="tokenize", colunm="a"), "160", "n", "colunm", "'colunm'", "'column'"),
    (node("flat_map", fn="tokenize", column=3), "160", "n", "column", "must be a text", None),
    (node("map"), "160", "n", "fn", '"fn" or "expr"', None),
    (node("map", fn="trim", expr={"a": "b"}), "160", "n", "expr", "not both", None),
    (
        node("map", expr={"a": "b"}, column="c"),
        "160",
        "n",
        "column",
        'only allowed with "fn"',
        None,
    ),
    (node("map", expr={}), "160", "n", "expr", "not empty", None),
    (node("map", expr={"a": 1}), "160", "n", "expr", "a text", None),
    (node("map", expr="a"), "160", "n", "expr", "an object", None),
    (node("map", fn="to_lowr"), "161", "n", "fn", "'to_lowr'", "'to_lower'"),
    (node("filter"), "160", "n", "where", '"where" or "fn"', None),
    (node("filter", where="x", fn="non_empty"), "160", "n", "fn", "not both", None),
    (node("filter", where="x", column="c"), "160", "n", "column", 'only allowed with "fn"', None),
    (node("reduce_by_key", key=[], fn="sum"), "160", "n", "key", "not empty", None),
    (node("reduce_by_key", key=1, fn="sum"), "160", "n", "key", "a text or a list", None),
    (node("reduce_by_key", fn="summ"), "161", "n", "fn", "'summ'", "'sum'"),
    (node("aggregate", by="a"), "160", "n", "aggs", "needs the field 'aggs'", None),
    (node("select"), "160", "n", "columns", "needs the field 'columns'", None),
    (node("select", columns="a"), "160", "n", "columns", "a list or an object", None),
    (node("limit", n=-1), "160", "n", "n", "at least 0", None),
    (node("limit", n="ten"), "160", "n", "n", "a whole number, not 'ten'", None),
    (node("repartition", n=0), "160", "n", "n", "at least 1", None),
    (node("repartition", n=100_000), "160", "n", "n", "at most 65,536", None),
    (node("sort", by=[]), "160", "n", "by", "not empty", None),
    (node("sort", by="a", descending="yes"), "160", "n", "descending", "true or false", None),
    (node("sort", by="a", descending=[True, False]), "160", "n", "descending", "one value", None),
    (node("sort", by=["a"], nulls_last=[]), "160", "n", "nulls_last", "one value for each", None),
    (node("sql"), "160", "n", "query", "needs the field 'query'", None),
    (node("write_csv"), "160", "n", "path", "needs the field 'path'", None),
    (node("write_csv", path="o", overwrite=1), "160", "n", "overwrite", "true or false", None),
    (chain({**READ, "op": "read_csv", "separator": "ab"}), "160", "read", "separator", "one", None),
    (chain({**READ, "op": "read_csv", "separator": '"'}), "160", "read", "separator", "one", None),
    (chain({**READ, "path": []}), "160", "read", "path", "not empty", None),
    (chain({**READ, "path": None}), "160", "read", "path", "a text or a list, not None", None),
    (chain({**READ, "partitions": 0}), "160", "read", "partitions", "at least 1", None),
    # joins
    (fan_in({"id": "j", "op": "join"}, READ, OTHER), "160", "j", "on", "is needed", None),
    (
        fan_in({"id": "j", "op": "join", "on": "a", "how": "innr"}, READ, OTHER),
        "161",
        "j",
        "how",
        "'innr'",
        "'inner'",
    ),
    (
        fan_in({"id": "j", "op": "join", "on": "a", "how": "cross"}, READ, OTHER),
        "160",
        "j",
        "on",
        "cross",
        None,
    ),
    (
        fan_in({"id": "j", "op": "join", "left_on": "a"}, READ, OTHER),
        "160",
        "j",
        "right_on",
        "is needed",
        None,
    ),
    (
        fan_in({"id": "j", "op": "join", "on": "a", "left_on": "a"}, READ, OTHER),
        "160",
        "j",
        "left_on",
        'does not go with "on"',
        None,
    ),
    (
        fan_in({"id": "j", "op": "join", "left_on": "a", "right_on": ["a", "b"]}, READ, OTHER),
        "160",
        "j",
        "right_on",
        "as many columns",
        None,
    ),
    # shape
    (edges(nodes=[READ, READ]), "162", "read", "id", "two nodes have the id 'read'", None),
    (edges(["read", "wrods"]), "162", "wrods", "dag.edges", "which is no node", "'words'"),
    (edges(["nowhere", "words"]), "162", "nowhere", "dag.edges", "no node", "nodes are"),
    (edges(["read"]), "160", None, "dag.edges", "pairs of node ids", None),
    (edges(["read", "words", "x"]), "160", None, "dag.edges", "pairs of node ids", None),
    (edges(["read", 3]), "160", None, "dag.edges", "a text", None),
    (edges("ab"), "160", None, "dag.edges", "a list", None),
    (edges(), "162", "words", "dag.edges", "needs an input, but no edge leads to it", None),
    (edges(["words", "words"]), "162", "words", "dag.edges", "'words' -> 'words'", "remove"),
    (edges(["words", "read"]), "162", "read", "dag.edges", "takes no input", None),
    (
        edges(["read", "words"], ["other", "words"], nodes=[READ, OTHER, WORDS]),
        "162",
        "words",
        "dag.edges",
        "takes one input, but has 2: 'read', 'other'",
        None,
    ),
    (
        fan_in({"id": "j", "op": "join", "on": "a"}, READ),
        "162",
        "j",
        "dag.edges",
        "exactly two inputs (left, then right), but has 1",
        None,
    ),
    (
        fan_in({"id": "j", "op": "join", "on": "a"}, READ, OTHER, READ | {"id": "r3"}),
        "162",
        "j",
        "dag.edges",
        "has 3",
        None,
    ),
    (fan_in({"id": "u", "op": "union"}), "162", "u", "dag.edges", "needs an input", None),
    (
        fan_in({"id": "q", "op": "sql", "query": "select 1"}, READ, READ)
        | {
            "dag": {
                "nodes": [READ, {"id": "q", "op": "sql", "query": "select 1"}],
                "edges": [["read", "q"], ["read", "q"]],
            }
        },
        "162",
        "q",
        "dag.edges",
        "same input twice",
        None,
    ),
    (
        chain(READ, {"id": "w", "op": "write_csv", "path": "o"}, WORDS),
        "162",
        "w",
        "dag.edges",
        "a write gives no rows",
        "'w' reads",
    ),
]


@pytest.mark.parametrize(("job", "code", "at", "field", "message", "hint"), WRONG)
def test_a_wrong_job_is_refused_in_one_sentence(
    job: Job, code: str, at: str | None, field: str | None, message: str, hint: str | None
) -> None:
    info = refused(job)
    assert info.code == f"MS-{code}"
    assert (info.node, info.field) == (at, field)
    assert message in info.message
    if hint is None:
        assert info.hint is None or info.hint not in info.message
    else:
        assert hint in (info.hint or "")


def test_a_cycle_names_its_nodes_in_the_direction_of_the_rows() -> None:
    nodes = [READ, *({"id": name, "op": "union"} for name in "abcd")]
    info = refused(
        edges(["read", "a"], ["a", "b"], ["b", "c"], ["c", "a"], ["c", "d"], nodes=nodes)
    )
    assert info.code == "MS-162"
    cycle = info.message.split(": ")[1].replace("'", "").split(" -> ")
    assert cycle[0] == cycle[-1]
    assert set(cycle) == {"a", "b", "c"}
    steps = {("a", "b"), ("b", "c"), ("c", "a")}
    assert set(pairwise(cycle)) == steps


def test_sizes_are_limited() -> None:
    limits = Limits(nodes=2, edges=1)
    three = [READ | {"id": str(number)} for number in range(3)]
    for job, field in (
        ({"dag": {"nodes": three}}, "dag.nodes"),
        (edges(["read", "words"], ["read", "words"]), "dag.edges"),
    ):
        with pytest.raises(UsageError, match="at most") as caught:
            parse_job(job, limits=limits)
        assert (caught.value.info.code, caught.value.info.field) == ("MS-163", field)


def test_text_that_is_no_unicode_is_refused() -> None:
    assert refused(chain(READ | {"id": "\ud800"})).code == "MS-160"


def test_deep_nesting_is_refused() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert refused(chain(READ | {"path": value})).code == "MS-163"


def test_any_text_is_an_id() -> None:
    names = ["<img src=x onerror=alert(1)>", "a b", "é\n", "'; drop table", "0"]
    nodes = [READ | {"id": name} for name in names]
    job = parse_job({"name": "<b>", "dag": {"nodes": nodes, "edges": []}})
    assert [node.id for node in job.nodes] == names
    assert job.name == "<b>"


def test_nodes_come_inputs_first_and_inputs_in_the_order_of_the_edges() -> None:
    join = {"id": "j", "op": "join", "on": "text"}
    job = parse_job(edges(["other", "j"], ["read", "j"], nodes=[join, READ, OTHER]))
    assert [node.id for node in job.nodes] == ["other", "read", "j"]
    assert job.inputs["j"] == ("other", "read")
    assert [node.id for node in job.ends] == ["j"]


def test_a_long_chain_is_no_trouble() -> None:
    steps = [{"id": f"n{number}", "op": "limit", "n": 5} for number in range(999)]
    job = parse_job(chain(READ, *steps))
    assert len(job.nodes) == 1_000
    backwards = {
        "dag": {"nodes": [*reversed(steps), READ], "edges": chain(READ, *steps)["dag"]["edges"]}
    }
    assert [node.id for node in parse_job(backwards).nodes] == [node.id for node in job.nodes]


def test_the_limits_given_are_those_that_hold() -> None:
    job = node("filter", where="a + b > 1")
    parse_job(job)
    for limits in (Limits(expression_chars=5), Limits(expression_depth=1)):
        with pytest.raises(UsageError) as caught:
            parse_job(job, limits=limits)
        assert (caught.value.info.node, caught.value.info.field) == ("n", "where")
