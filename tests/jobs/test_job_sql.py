"""What may not be in SQL, however it is spelled."""
# ruff: noqa: S608 - hostile queries are the point

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.exceptions import SQLInterfaceError
from tests.jobs.job_kit import Write, chain, fan_in, refused

from minispark.errors import UsageError
from minispark.jobs.errors import polars_reason
from minispark.jobs.operators import Sql
from minispark.jobs.tables import Table
from minispark.jobs.transforms import _SCAN, _check_scans
from minispark.plan.sqltext import SqlRefusedError, check_expression, check_query, check_statement

FILE = "('/etc/passwd')"
READERS = [
    f"select * from read_csv{FILE}",
    f"SELECT * FROM READ_CSV {FILE}",
    f"select * from Read_Csv\n\t{FILE}",
    f"select * from /* x */ read_csv /* /* nested */ */ {FILE}",
    f"select * from read_csv -- x\n{FILE}",
    f'select * from "read_csv"{FILE}',
    f"select * from `read_csv`{FILE}",
    f"select * from read_parquet{FILE}",
    f"select * from read_json{FILE}",
    f"select * from read_ndjson{FILE}",
    f"select * from read_ipc{FILE}",
    f"select * from scan_csv{FILE}",
    f"from read_csv{FILE}",
    f"(select * from read_csv{FILE})",
    f"with x as (select * from read_csv{FILE}) select * from x",
    f"select * from t where a in (select a from read_csv{FILE})",
    f"select * from t where a = (select count(*) from read_csv{FILE})",
    f"select (select max(a) from read_csv{FILE}) as m, a from t",
    f"select a from t union all select a from read_csv{FILE}",
    f"select * from t, read_csv{FILE}",
    f"select * from t join read_csv{FILE} z on t.a = z.a",
    f"select 'it''s' as x from read_csv{FILE}",
    f"select ' -- ' as x from read_csv{FILE}",
    f"select ' /* ' as x from read_csv{FILE} -- '*/",
    f'select "a" as "--" from read_csv{FILE}',
    f"select * from public.read_csv{FILE}",
]
OTHERS = [
    "create table x as select * from t",
    "drop table t",
    "show tables",
    "explain select * from t",
    "delete from t",
    "truncate table t",
    "select e'\\' from t",
    f"select E'it\\'s' as x from read_csv{FILE} -- '",
    "select n'x'",
    "select r'x\\'",
    "select $$ ' $$ from t",
    "select 1; select 2",
    "select 'open",
    'select "open',
    "select /* open",
    "select \\",
    "",
    "   -- nothing",
]
FINE = [
    "select * from t",
    "SELECT a, 'read_csv(' AS x FROM t WHERE a > 1 -- read_csv('x')",
    "select a /* read_csv('x') */ from t",
    "with x as (select a from t) select * from x order by a",
    "(select a from t) union all (select a from t)",
    "from t select a",
    "select a as read_csv from t",
    'select "a" from t where a in (1, 2, 3)',
    "select a::double, a % 2, -a, a <> 1, a >= 2, a || 'x' from t",
    "select date'2020-01-01' as d, x'41' as b from t",
    "select case when a > 1 then 'é' else '中' end as \"ü\" from t",
    "select sum(a) over (partition by a % 2) as s from t",
]


def table() -> Table:
    schema = {"a": pl.Int64()}
    return Table("t", pl.LazyFrame(schema=schema), schema)


def sql(query: str) -> Sql:
    return Sql.model_validate({"id": "q", "op": "sql", "query": query})


@pytest.mark.parametrize("query", READERS)
def test_a_query_that_reads_files_is_refused_on_its_text(query: str) -> None:
    with pytest.raises(SqlRefusedError, match="table function") as caught:
        check_query(query, max_chars=10_000, max_depth=500)
    assert "read_* node" in (caught.value.hint or "")


@pytest.mark.parametrize("query", OTHERS)
def test_what_is_no_plain_query_is_refused(query: str) -> None:
    with pytest.raises(SqlRefusedError):
        check_query(query, max_chars=10_000, max_depth=500)


@pytest.mark.parametrize("query", FINE)
def test_a_query_is_a_statement_that_is_allowed(query: str) -> None:
    check_statement(query)


@pytest.mark.parametrize(
    "statement",
    [
        "delete from t where a > 1",
        "TRUNCATE t",
        "drop table t",
        "create table u as select * from t",
        "insert into t values (1)",
        "explain select * from t",
        "show tables",
        "/* select */ delete from t",
        "copy t to E'out'",
        "-- only a comment",
        "",
    ],
)
def test_other_statements_are_refused(statement: str) -> None:
    with pytest.raises(SqlRefusedError, match=r"only a query is allowed|is empty"):
        check_statement(statement)


def test_a_syntax_tree_of_polars_is_not_shown() -> None:
    frame = pl.SQLContext().execute("select\n  map {1: 2}", eager=False)
    with pytest.raises(SQLInterfaceError) as caught:
        frame.collect_schema()
    assert polars_reason(caught.value) == "Polars does not support the SQL at line 2, column 8"


@pytest.mark.parametrize("query", FINE)
def test_a_plain_query_is_fine(query: str) -> None:
    check_query(query, max_chars=10_000, max_depth=500)
    _check_scans(sql(query), [table()])
    pl.SQLContext({"t": table().frame}).execute(query, eager=False).collect_schema()


def test_a_reader_that_the_text_hid_is_found_in_the_plan(tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_text("a\n1\n")
    query = f"select * from t where a in (select a from read_csv('{path}'))"
    with pytest.raises(UsageError, match="reads files by itself") as caught:
        _check_scans(sql(query), [table()])
    assert (caught.value.info.node, caught.value.info.field) == ("q", "query")


def test_a_column_called_scan_is_no_scan() -> None:
    schema = {"Csv SCAN [x]": pl.Int64(), "SCAN": pl.String()}
    named = Table("t", pl.LazyFrame(schema=schema), schema)
    _check_scans(sql('select "SCAN" from t where "Csv SCAN [x]" > 1'), [named])
    assert _SCAN.search("Csv SCAN [x]")
    assert _SCAN.search("FROM\n  Parquet SCAN [x]")


def test_readers_are_refused_in_a_job(write: Write, root: Path) -> None:
    source = write("t", [{"a": 1}])
    info = refused(fan_in({"id": "q", "op": "sql", "query": READERS[0]}, source), root)
    assert (info.node, info.field, info.code) == ("q", "query", "MS-165")
    assert "read_csv" in info.message
    where = f"a in (select a from read_csv{FILE})"
    info = refused(chain(source, {"id": "f", "op": "filter", "where": where}), root)
    assert (info.node, info.field) == ("f", "where")


@pytest.mark.parametrize(
    "text",
    [
        "+".join(["a"] * 502),
        "(" * 501 + "a" + ")" * 501,
        "abs(" * 501 + "a" + ")" * 501,
        "not " * 501 + "a",
        "-" + " -" * 500 + "a",
        "case when a then " * 251 + "a" + " end" * 251,
        "a" + "::int" * 501,
        " or ".join(["a = 1"] * 252),
        "f(" * 250 + "+".join(["a"] * 252) + ")" * 250,
    ],
)
def test_what_is_nested_too_deeply_is_refused(text: str) -> None:
    with pytest.raises(SqlRefusedError, match="deep"):
        check_expression(text, max_chars=10_000, max_depth=500)


READ_AGAIN = [
    ("cast(", " as bigint)"),
    ("TRY_CAST (", " as bigint)"),
    ("substring(", ", 1)"),
    ("overlay(", " placing 'x' from 1)"),
    ("floor(", ")"),
    ("convert(bigint, ", ")"),
    ("case (", ") when 1 then 1 end"),
    ("case a + cast(", " as bigint) when 1 then 1 end"),
]


@pytest.mark.parametrize(("begin", "end"), READ_AGAIN)
def test_what_takes_the_parser_twice_as_long_a_level_is_refused(begin: str, end: str) -> None:
    deep = "(1 + " * 30 + "a" + ")" * 30
    with pytest.raises(SqlRefusedError, match="more than 8 deep"):
        check_expression(begin * 9 + deep + end * 9, max_chars=10_000, max_depth=500)
    with pytest.raises(SqlRefusedError, match="more than 8 deep"):
        check_query(f"select {begin * 9}a{end * 9} from t", max_chars=10_000, max_depth=500)
    for text in (begin * 4 + "a" + end * 4, ", ".join([f"{begin}a{end}"] * 20)):
        check_expression(text, max_chars=10_000, max_depth=500)


def test_what_is_long_but_flat_is_fine() -> None:
    check_expression("case when a then " * 20 + "a" + " end" * 20, max_chars=999, max_depth=500)
    flat = "a in (" + ", ".join(map(str, range(2_000))) + ")"
    check_expression(flat, max_chars=100_000, max_depth=500)
    check_query("select " + ", ".join(["a + 1 - 2"] * 500), max_chars=10_000, max_depth=50)


@given(st.text(alphabet="ar()'\"`-/*\n ,+$_1é", max_size=40))
@settings(max_examples=300, deadline=None)
def test_what_passes_holds_no_reader_where_polars_would_see_one(text: str) -> None:
    query = f"select {text} from read_csv{FILE} {text}"
    try:
        check_query(query, max_chars=10_000, max_depth=500)
    except SqlRefusedError:
        return
    frame = pl.SQLContext({"t": table().frame})
    try:
        plan = frame.execute(query, eager=False).explain(optimized=False)
    except pl.exceptions.PolarsError:
        return
    assert "SCAN" not in plan


def test_a_query_without_end_is_refused(root: Path) -> None:
    query = "WITH RECURSIVE x AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM x) SELECT * FROM x"
    for text in (query, query.replace("RECURSIVE", "/* */ recursive"), f"SELECT * FROM ({query})"):
        with pytest.raises(SqlRefusedError, match="RECURSIVE"):
            check_query(text, max_chars=10_000, max_depth=500)
    check_query('WITH "recursive" AS (SELECT 1) SELECT * FROM x', max_chars=99, max_depth=500)


def doubling(source: str, table: str) -> str:
    return f"SELECT * FROM {source} UNION ALL SELECT * FROM {table}"


def test_a_query_that_reads_its_tables_very_often_is_refused(root: Path) -> None:
    """Sixty tables of WITH, each of which reads the one before twice, are 2**59 reads."""
    (root / "t.csv").write_text("a\n1\n")
    steps = ["a0 AS (SELECT * FROM t)"]
    steps += [f"a{i} AS ({doubling(f'a{i - 1}', f'a{i - 1}')})" for i in range(1, 60)]
    query = f"WITH {', '.join(steps)} SELECT * FROM a59"
    nodes = [{"id": "t", "op": "read_csv", "path": "t.csv"}, {"id": "q", "op": "sql"}]
    info = refused(chain(nodes[0], {**nodes[1], "query": query}), root)
    assert (info.code, info.node, info.field) == ("MS-163", "q", "query")
    assert "more than 256 tables" in info.message


def test_queries_one_after_another_are_counted_together(root: Path) -> None:
    (root / "t.csv").write_text("a\n1\n")
    nodes = [{"id": "q0", "op": "read_csv", "path": "t.csv"}]
    nodes += [
        {"id": f"q{i}", "op": "sql", "query": doubling(f"q{i - 1}", f"q{i - 1}")}
        for i in range(1, 60)
    ]
    info = refused(chain(*nodes), root)
    assert (info.code, info.node) == ("MS-163", "q9")
