"""A case for each option of the commands that need no master."""

from __future__ import annotations

import json
from collections.abc import Callable

import polars as pl

from .options_kit import Case, Cases, OptionBench


def _table(bench: OptionBench) -> str:
    return bench.write("t.csv", "k,v\na,1\nb,2\nc,3\n")


def _sql(bench: OptionBench, *words: str) -> tuple[str, ...]:
    return "sql", "select k, sum(v) as v from t group by k", "--table", _table(bench), *words


def sql_table(bench: OptionBench) -> None:
    ran = bench.run("sql", "select count(*) n from u", "--table", f"u={_table(bench)}", "--json")
    assert json.loads(ran.stdout) == [{"n": 3}]


def runs_there(words: Callable[[OptionBench], tuple[str, ...]]) -> Case:
    """Return the case of ``--engine``: the master has one job more."""

    def case(bench: OptionBench) -> None:
        client = bench.cluster.client
        before = {view.job_id for view in client.jobs(limit=1_000)}
        bench.run(*words(bench), "--engine", bench.cluster.url)
        (view,) = [v for v in client.jobs(limit=1_000) if v.job_id not in before]
        assert view.status == "SUCCEEDED"
        assert "there is no engine" in bench.refused(*words(bench), "--engine", "elsewhere")

    return case


def sql_parallelism(bench: OptionBench) -> None:
    plan = bench.run(*_sql(bench, "--explain", "--json", "--parallelism", "5")).stdout
    assert 5 in {stage["tasks"] for stage in json.loads(plan)["stages"]}


def sql_top(bench: OptionBench) -> None:
    assert "3 rows in all" in bench.run(*_sql(bench, "--top", "1")).stderr
    assert len(json.loads(bench.run(*_sql(bench, "--top", "1", "--json")).stdout)) == 1
    lines = bench.run(*_sql(bench, "--top", "1", "--format", "jsonl")).stdout.splitlines()
    assert len(lines) == 1
    assert "cannot be given" in bench.refused(*_sql(bench, "--top", "1", "--output", "x.csv"))


def sql_output(bench: OptionBench) -> None:
    bench.run(*_sql(bench, "--output", "rows.feather"))
    assert pl.read_ipc(bench.directory / "rows.feather").height == 3


def sql_format(bench: OptionBench) -> None:
    lines = bench.run(*_sql(bench, "--format", "jsonl")).stdout.splitlines()
    assert {json.loads(line)["k"] for line in lines} == {"a", "b", "c"}
    assert "cannot be given" in bench.refused(*_sql(bench, "--format", "jsonl", "--json"))


def sql_force(bench: OptionBench) -> None:
    bench.write("rows.csv", "mine")
    assert "exists already" in bench.refused(*_sql(bench, "--output", "rows.csv"))
    bench.run(*_sql(bench, "--output", "rows.csv", "--force"))
    assert pl.read_csv(bench.directory / "rows.csv").height == 3
    assert "does nothing" in bench.refused(*_sql(bench, "--force"))


def sql_explain(bench: OptionBench) -> None:
    assert "Physical plan" in bench.run(*_sql(bench, "--explain")).stdout
    for other in (("--output", "x.csv"), ("--format", "csv"), ("--top", "1")):
        assert "cannot be given" in bench.refused(*_sql(bench, "--explain", *other))


def sql_json(bench: OptionBench) -> None:
    rows = bench.json(*_sql(bench))
    assert sorted(row["v"] for row in rows) == [1, 2, 3]


def _words(bench: OptionBench, *words: str) -> tuple[str, ...]:
    return "run", "wordcount", bench.write("w.csv", "a,b\nto be,or\nnot to,be\n"), *words


def _count(bench: OptionBench, *words: str) -> tuple[str, ...]:
    return _words(bench, "--column", "a", *words)


def _join(bench: OptionBench, *words: str) -> tuple[str, ...]:
    left, right = _table(bench), bench.write("r.csv", "k,w\na,7\nz,8\n")
    return "run", "join", left, right, "--on", "k", *words


Words = Callable[..., tuple[str, ...]]


def run_output(words: Words) -> Case:
    def case(bench: OptionBench) -> None:
        bench.run(*words(bench, "--output", "out"))
        assert pl.read_csv(bench.directory / "out" / "part-*.csv").height > 0
        assert "cannot be given" in bench.refused(*words(bench, "--output", "o", "--top", "1"))
        assert "ends in .xlsx" in bench.refused(*words(bench, "--output", "o.xlsx"))

    return case


def run_force(words: Words) -> Case:
    def case(bench: OptionBench) -> None:
        bench.write("out/part-00009.csv", "mine")
        assert "MS-121" in bench.refused(*words(bench, "--output", "out"))
        bench.run(*words(bench, "--output", "out", "--force"))
        assert not (bench.directory / "out" / "part-00009.csv").exists()
        assert "does nothing" in bench.refused(*words(bench, "--force"))

    return case


def run_parallelism(words: Words) -> Case:
    def case(bench: OptionBench) -> None:
        bench.record("minispark.cli.execution.run_and_show")
        bench.run(*words(bench, "--parallelism", "3"))
        assert bench.calls[0].arguments[0]["parallelism"] == 3

    return case


def run_top(words: Words) -> Case:
    def case(bench: OptionBench) -> None:
        assert len(json.loads(bench.run(*words(bench, "--top", "1", "--json")).stdout)["rows"]) == 1

    return case


def run_json(words: Words) -> Case:
    def case(bench: OptionBench) -> None:
        assert bench.json(*words(bench))["rows_in_all"] > 0

    return case


def _ready_made(words: Words) -> dict[str, Case]:
    return {
        "engine": runs_there(words),
        "output": run_output(words),
        "force": run_force(words),
        "parallelism": run_parallelism(words),
        "top": run_top(words),
        "json": run_json(words),
    }


def wordcount_column(bench: OptionBench) -> None:
    assert "several text columns" in bench.refused(*_words(bench))
    found = json.loads(bench.run(*_words(bench, "--column", "b", "--json")).stdout)
    assert (found["column"], {row["key"] for row in found["rows"]}) == ("b", {"or", "be"})


def join_on(bench: OptionBench) -> None:
    words = _join(bench)
    assert "no column 'v'" in bench.refused(*words[:-1], "v")
    assert json.loads(bench.run(*words, "--json").stdout)["rows"] == [{"k": "a", "v": 1, "w": 7}]


def join_how(bench: OptionBench) -> None:
    found = json.loads(bench.run(*_join(bench, "--how", "full", "--json")).stdout)
    assert found["rows_in_all"] == 4


def _explain(bench: OptionBench, *words: str, path: str = "t.csv") -> tuple[str, ...]:
    _table(bench)
    nodes = [
        {"id": "read", "op": "read_csv", "path": path},
        {"id": "sum", "op": "reduce_by_key", "key": "k", "value": "v", "fn": "sum"},
    ]
    job = {"dag": {"nodes": nodes, "edges": [["read", "sum"]]}}
    return "explain", bench.write("job.json", json.dumps(job)), *words


def explain_parallelism(bench: OptionBench) -> None:
    assert bench.json(*_explain(bench, "--parallelism", "5"))["stages"][-1]["tasks"] == 5


def explain_data_root(bench: OptionBench) -> None:
    assert "matches no file" in bench.refused(*_explain(bench, path="u.csv"))
    bench.write("root/u.csv", "k,v\na,1\n")
    bench.run(*_explain(bench, "--data-root", "root", path="u.csv"))


def explain_mermaid(bench: OptionBench) -> None:
    assert bench.run(*_explain(bench, "--mermaid")).stdout.startswith("flowchart")
    assert "cannot be given" in bench.refused(*_explain(bench, "--mermaid", "--json"))


def explain_json(bench: OptionBench) -> None:
    assert "stages" in bench.json(*_explain(bench))


LOCAL_CASES: Cases = {
    "sql": {
        "table": sql_table,
        "engine": runs_there(_sql),
        "parallelism": sql_parallelism,
        "top": sql_top,
        "output": sql_output,
        "format": sql_format,
        "force": sql_force,
        "explain": sql_explain,
        "json": sql_json,
    },
    "run wordcount": {"column": wordcount_column, **_ready_made(_count)},
    "run join": {"on": join_on, "how": join_how, **_ready_made(_join)},
    "explain": {
        "parallelism": explain_parallelism,
        "data_root": explain_data_root,
        "mermaid": explain_mermaid,
        "json": explain_json,
    },
}
