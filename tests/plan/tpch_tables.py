"""Small tables with the columns of TPC-H, and values for which each of its queries has rows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

_REGIONS = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
_NATIONS = (
    *("KENYA", "BRAZIL", "INDIA", "FRANCE", "EGYPT"),
    *("ALGERIA", "CANADA", "CHINA", "GERMANY", "SAUDI ARABIA"),
)
_CONTAINERS = ("SM CASE", "MED BOX", "LG CASE", "MED BAG", "SM PKG")
_TYPES = ("ECONOMY ANODIZED STEEL", "PROMO BRUSHED BRASS", "LARGE PLATED BRASS")
_COMMENTS = ("special packed requests", "quick deposits", "Customer late Complaints")
_MONEY = pl.Decimal(15, 2)
_START = dt.date(1992, 6, 1)
_COUNTS = {"customer": 60, "supplier": 12, "part": 40, "orders": 300, "lineitem": 1200}


def write_tables(folder: Path) -> dict[str, pl.LazyFrame]:
    """Write the tables to Parquet files in ``folder`` and scan them."""
    dice = _Dice(1)
    orders = _orders(dice)
    tables = {
        "region": {"r_regionkey": range(5), "r_name": _REGIONS},
        "nation": {
            "n_nationkey": range(10),
            "n_name": _NATIONS,
            "n_regionkey": [number % 5 for number in range(10)],
        },
        "customer": _customers(dice),
        "supplier": _suppliers(dice),
        "part": _parts(dice),
        "partsupp": _offers(dice),
        "orders": orders,
        "lineitem": _items(dice, orders["o_orderdate"]),
    }
    for name, columns in tables.items():
        pl.DataFrame(columns).write_parquet(folder / f"{name}.parquet", row_group_size=300)
    return {name: pl.scan_parquet(folder / f"{name}.parquet") for name in tables}


_Columns = dict[str, Any]


class _Dice(Random):
    """Draws columns, the same each time."""

    def any_of(self, values: Sequence[Any], table: str) -> list[Any]:
        return self.choices(values, k=_COUNTS[table])

    def money(self, least: int, most: int, count: int) -> pl.Series:
        cents = [self.randint(least * 100, most * 100) for _ in range(count)]
        return pl.Series([Decimal(each) / 100 for each in cents], dtype=_MONEY)

    def days_after(self, days: Sequence[dt.date], least: int, most: int) -> list[dt.date]:
        return [day + dt.timedelta(days=self.randint(least, most)) for day in days]


def _customers(dice: _Dice) -> _Columns:
    numbers = range(_COUNTS["customer"])
    return {
        "c_custkey": numbers,
        "c_name": [f"c{number}" for number in numbers],
        "c_address": [f"road {number}" for number in numbers],
        "c_nationkey": dice.any_of(range(10), "customer"),
        "c_phone": [f"{number % 30 + 5}-{number}" for number in numbers],
        "c_acctbal": dice.money(-99, 999, len(numbers)),
        "c_mktsegment": dice.any_of(("BUILDING", "MACHINERY"), "customer"),
        "c_comment": dice.any_of(_COMMENTS, "customer"),
    }


def _suppliers(dice: _Dice) -> _Columns:
    numbers = range(_COUNTS["supplier"])
    return {
        "s_suppkey": numbers,
        "s_name": [f"s{number}" for number in numbers],
        "s_address": [f"lane {number}" for number in numbers],
        "s_nationkey": [number % 10 for number in numbers],
        "s_phone": [str(number) for number in numbers],
        "s_acctbal": dice.money(-99, 999, len(numbers)),
        "s_comment": dice.any_of(_COMMENTS, "supplier"),
    }


def _parts(dice: _Dice) -> _Columns:
    numbers = range(_COUNTS["part"])
    return {
        "p_partkey": numbers,
        "p_name": dice.any_of(("forest green chiffon", "light red", "dark blue lace"), "part"),
        "p_mfgr": [f"m{number % 5}" for number in numbers],
        "p_brand": dice.any_of(("Brand#12", "Brand#23", "Brand#34"), "part"),
        "p_type": dice.any_of(_TYPES, "part"),
        "p_size": dice.any_of((3, 9, 15, 23), "part"),
        "p_container": dice.any_of(_CONTAINERS, "part"),
    }


def _offers(dice: _Dice) -> _Columns:
    offers = [_offer(number) for number in range(4 * _COUNTS["part"])]
    return {
        "ps_partkey": [part for part, _ in offers],
        "ps_suppkey": [supplier for _, supplier in offers],
        "ps_availqty": [dice.randint(1, 999) for _ in offers],
        "ps_supplycost": dice.money(1, 99, len(offers)),
    }


def _offer(number: int) -> tuple[int, int]:
    """Return part and supplier of one of four offers for each part."""
    part = number // 4
    return part, (part * 3 + number % 4 * 5) % _COUNTS["supplier"]


def _orders(dice: _Dice) -> _Columns:
    count = _COUNTS["orders"]
    return {
        "o_orderkey": range(count),
        "o_custkey": dice.any_of(range(45), "orders"),
        "o_orderstatus": dice.any_of("FOP", "orders"),
        "o_totalprice": dice.money(99, 999, count),
        "o_orderdate": dice.days_after([_START] * count, 0, 2200),
        "o_orderpriority": dice.any_of(("1-URGENT", "2-HIGH", "3-MEDIUM"), "orders"),
        "o_shippriority": [0] * count,
        "o_comment": dice.any_of(_COMMENTS, "orders"),
    }


def _items(dice: _Dice, ordered: Sequence[dt.date]) -> _Columns:
    count = _COUNTS["lineitem"]
    orders = dice.any_of(range(_COUNTS["orders"]), "lineitem")
    offers = [_offer(dice.randrange(4 * _COUNTS["part"])) for _ in range(count)]
    days = [ordered[order] for order in orders]
    shipped = dice.days_after(days, 1, 90)
    return {
        "l_orderkey": orders,
        "l_partkey": [part for part, _ in offers],
        "l_suppkey": [supplier for _, supplier in offers],
        "l_quantity": dice.money(1, 90, count),
        "l_extendedprice": dice.money(9, 999, count),
        "l_discount": pl.Series([Decimal(dice.randrange(10)) / 100 for _ in days]).cast(_MONEY),
        "l_tax": dice.money(0, 1, count),
        "l_returnflag": dice.any_of("ANR", "lineitem"),
        "l_linestatus": dice.any_of("OF", "lineitem"),
        "l_shipdate": shipped,
        "l_commitdate": dice.days_after(days, 30, 90),
        "l_receiptdate": dice.days_after(shipped, 1, 30),
        "l_shipmode": dice.any_of(("MAIL", "SHIP", "AIR", "AIR REG"), "lineitem"),
        "l_shipinstruct": dice.any_of(("DELIVER IN PERSON", "NONE"), "lineitem"),
    }
