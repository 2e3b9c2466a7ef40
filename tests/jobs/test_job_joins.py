"""Joins and unions of JSON jobs against a computation by hand in Python."""

from pathlib import Path

import pytest
from tests.jobs.job_kit import (
    NAMES,
    SALES,
    Collect,
    Node,
    Row,
    Write,
    as_set,
    fan_in,
    refused,
    step,
)


def joined(how: str) -> list[Row]:
    matches = [(s, n) for s in SALES for n in NAMES if s["sku"] == n["sku"]]
    left_only = [s for s in SALES if s["sku"] not in {n["sku"] for n in NAMES}]
    right_only = [n for n in NAMES if n["sku"] not in {s["sku"] for s in SALES}]
    none = {"qty": None, "price": None}
    rows: dict[str, list[Row]] = {
        "inner": [{**s, **n} for s, n in matches],
        "semi": [s for s, _ in matches],
        "anti": left_only,
    }
    rows["left"] = rows["inner"] + [{**s, "name": None} for s in left_only]
    rows["right"] = rows["inner"] + [{**none, **n} for n in right_only]
    rows["full"] = rows["left"] + [{**none, **n} for n in right_only]
    return rows[how]


@pytest.mark.parametrize("how", ["inner", "left", "right", "full", "semi", "anti"])
def test_join(sales: Node, names: Node, collect: Collect, how: str) -> None:
    found = collect(fan_in(step("join", on="sku", how=how), sales, names), ordered=False)
    assert as_set(found.to_dicts()) == as_set(joined(how))


def test_join_under_other_names_and_cross(
    sales: Node, names: Node, write: Write, collect: Collect
) -> None:
    other = write("other", [{"code": "a", "qty": 0}])
    job = fan_in(step("join", left_on="sku", right_on="code", suffix="_2"), sales, other)
    found = collect(job, ordered=False)
    assert found.columns == ["sku", "qty", "price", "qty_2"]
    assert sorted(found.rows()) == [("a", 5, 2.0, 0), ("a", 7, 2.5, 0)]
    found = collect(fan_in(step("join", how="cross"), sales, names), ordered=False)
    assert found.columns == ["sku", "qty", "price", "sku_right", "name"]
    assert found.height == len(SALES) * len(NAMES)


def test_join_with_itself(sales: Node, collect: Collect) -> None:
    job = {
        "dag": {
            "nodes": [sales, step("join", on="sku")],
            "edges": [["sales", "out"], ["sales", "out"]],
        }
    }
    assert collect(job, ordered=False).height == 2 * 2 + 2 * 2 + 1


def test_union(sales: Node, write: Write, collect: Collect) -> None:
    more = write("more", SALES[:2])
    found = collect(fan_in(step("union"), sales, more, {**more, "id": "again"}))
    assert found.to_dicts() == SALES + SALES[:2] + SALES[:2]


def test_wrong_joins_and_unions(sales: Node, names: Node, write: Write, root: Path) -> None:
    info = refused(fan_in(step("join", on="name"), sales, names), root)
    assert (info.field, info.code) == ("on", "MS-164")
    assert "in 'sales'" in info.message
    info = refused(fan_in(step("join", left_on="sku", right_on="nam"), sales, names), root)
    assert (info.field, info.hint) == ("right_on", "did you mean 'name'?")
    info = refused(fan_in(step("join", left_on="qty", right_on="sku"), sales, names), root)
    assert (info.field, "datatypes of join keys" in info.message) == ("left_on", True)
    twice = write("twice", [{"sku": "a", "qty": 1, "qty_right": 2}])
    assert refused(fan_in(step("join", on="sku"), twice, sales), root).field == "suffix"
    info = refused(fan_in(step("union"), sales, names), root)
    assert (info.field, "'sales' and 'names' differ" in info.message) == ("dag.edges", True)
    floats = write("floats", [{"sku": 1, "name": "x"}])
    assert "String and Int64" in refused(fan_in(step("union"), names, floats), root).message


@pytest.mark.parametrize("keys", [{"on": ""}, {"on": [""]}, {"left_on": "", "right_on": ""}])
def test_tables_are_joined_on_a_column_without_a_name(
    root: Path, collect: Collect, keys: Node
) -> None:
    for name in "bc":
        (root / f"{name}.csv").write_text(f",{name}\n1,2\n")
    readers = [step("read_csv", path=f"{name}.csv", id=name) for name in "bc"]
    found = collect(fan_in(step("join", **keys), *readers))
    assert found.to_dicts() == [{"": 1, "b": 2, "c": 2}]
