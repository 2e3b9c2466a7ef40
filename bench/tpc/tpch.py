"""The 22 queries of TPC-H as LazyFrames, with the parameters of the validation runs.

Each takes ``table``, which opens a table by name. They are written as a user of Polars writes
them: no hint, no column chosen in advance, no order of joins for the sake of an optimizer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date

import polars as pl
from polars import col

Table = Callable[[str], pl.LazyFrame]

_REVENUE = col("l_extendedprice") * (1 - col("l_discount"))


def q1(table: Table) -> pl.LazyFrame:
    """Pricing summary report."""
    return (
        table("lineitem")
        .filter(col("l_shipdate") <= date(1998, 9, 2))
        .group_by("l_returnflag", "l_linestatus")
        .agg(
            col("l_quantity").sum().alias("sum_qty"),
            col("l_extendedprice").sum().alias("sum_base_price"),
            _REVENUE.sum().alias("sum_disc_price"),
            (_REVENUE * (1 + col("l_tax"))).sum().alias("sum_charge"),
            col("l_quantity").mean().alias("avg_qty"),
            col("l_extendedprice").mean().alias("avg_price"),
            col("l_discount").mean().alias("avg_disc"),
            pl.len().alias("count_order"),
        )
        .sort("l_returnflag", "l_linestatus")
    )


def q2(table: Table) -> pl.LazyFrame:
    """Minimum cost supplier."""
    offers = (
        table("part")
        .filter(col("p_size") == 15, col("p_type").str.ends_with("BRASS"))
        .join(table("partsupp"), left_on="p_partkey", right_on="ps_partkey")
        .join(table("supplier"), left_on="ps_suppkey", right_on="s_suppkey")
        .join(table("nation"), left_on="s_nationkey", right_on="n_nationkey")
        .join(table("region"), left_on="n_regionkey", right_on="r_regionkey")
        .filter(col("r_name") == "EUROPE")
    )
    cheapest = offers.group_by("p_partkey").agg(col("ps_supplycost").min())
    return (
        offers.join(cheapest, on=["p_partkey", "ps_supplycost"])
        .select(
            *("s_acctbal", "s_name", "n_name", "p_partkey"),
            *("p_mfgr", "s_address", "s_phone", "s_comment"),
        )
        .sort("s_acctbal", "n_name", "s_name", "p_partkey", descending=[True, False, False, False])
        .head(100)
    )


def q3(table: Table) -> pl.LazyFrame:
    """Shipping priority."""
    day = date(1995, 3, 15)
    return (
        table("customer")
        .filter(col("c_mktsegment") == "BUILDING")
        .join(table("orders"), left_on="c_custkey", right_on="o_custkey")
        .join(table("lineitem"), left_on="o_orderkey", right_on="l_orderkey")
        .filter(col("o_orderdate") < day, col("l_shipdate") > day)
        .group_by("o_orderkey", "o_orderdate", "o_shippriority")
        .agg(_REVENUE.sum().alias("revenue"))
        .select(col("o_orderkey").alias("l_orderkey"), "revenue", "o_orderdate", "o_shippriority")
        .sort("revenue", "o_orderdate", descending=[True, False])
        .head(10)
    )


def q4(table: Table) -> pl.LazyFrame:
    """Order priority checking."""
    late = table("lineitem").filter(col("l_commitdate") < col("l_receiptdate"))
    return (
        table("orders")
        .filter(col("o_orderdate") >= date(1993, 7, 1), col("o_orderdate") < date(1993, 10, 1))
        .join(late, left_on="o_orderkey", right_on="l_orderkey", how="semi")
        .group_by("o_orderpriority")
        .agg(pl.len().alias("order_count"))
        .sort("o_orderpriority")
    )


def q5(table: Table) -> pl.LazyFrame:
    """Local supplier volume."""
    return (
        table("region")
        .filter(col("r_name") == "ASIA")
        .join(table("nation"), left_on="r_regionkey", right_on="n_regionkey")
        .join(table("customer"), left_on="n_nationkey", right_on="c_nationkey")
        .join(table("orders"), left_on="c_custkey", right_on="o_custkey")
        .filter(col("o_orderdate") >= date(1994, 1, 1), col("o_orderdate") < date(1995, 1, 1))
        .join(table("lineitem"), left_on="o_orderkey", right_on="l_orderkey")
        .join(
            table("supplier"),
            left_on=["l_suppkey", "n_nationkey"],
            right_on=["s_suppkey", "s_nationkey"],
        )
        .group_by("n_name")
        .agg(_REVENUE.sum().alias("revenue"))
        .sort("revenue", descending=True)
    )


def q6(table: Table) -> pl.LazyFrame:
    """Forecasting revenue change."""
    return (
        table("lineitem")
        .filter(
            col("l_shipdate") >= date(1994, 1, 1),
            col("l_shipdate") < date(1995, 1, 1),
            col("l_discount").is_between(0.05, 0.07),
            col("l_quantity") < 24,
        )
        .select((col("l_extendedprice") * col("l_discount")).sum().alias("revenue"))
    )


def q7(table: Table) -> pl.LazyFrame:
    """Volume shipping."""
    nation = table("nation")
    suppliers = nation.select("n_nationkey", col("n_name").alias("supp_nation"))
    customers = nation.select("n_nationkey", col("n_name").alias("cust_nation"))
    pair = ["FRANCE", "GERMANY"]
    return (
        table("supplier")
        .join(table("lineitem"), left_on="s_suppkey", right_on="l_suppkey")
        .join(table("orders"), left_on="l_orderkey", right_on="o_orderkey")
        .join(table("customer"), left_on="o_custkey", right_on="c_custkey")
        .join(suppliers, left_on="s_nationkey", right_on="n_nationkey")
        .join(customers, left_on="c_nationkey", right_on="n_nationkey")
        .filter(
            col("supp_nation").is_in(pair),
            col("cust_nation").is_in(pair),
            col("supp_nation") != col("cust_nation"),
            col("l_shipdate").is_between(date(1995, 1, 1), date(1996, 12, 31)),
        )
        .group_by("supp_nation", "cust_nation", col("l_shipdate").dt.year().alias("l_year"))
        .agg(_REVENUE.sum().alias("revenue"))
        .sort("supp_nation", "cust_nation", "l_year")
    )


def q8(table: Table) -> pl.LazyFrame:
    """National market share."""
    nation = table("nation").select("n_nationkey", "n_regionkey", "n_name")
    brazil = pl.when(col("nation") == "BRAZIL").then("volume").otherwise(0)
    return (
        table("part")
        .filter(col("p_type") == "ECONOMY ANODIZED STEEL")
        .join(table("lineitem"), left_on="p_partkey", right_on="l_partkey")
        .join(table("supplier"), left_on="l_suppkey", right_on="s_suppkey")
        .join(table("orders"), left_on="l_orderkey", right_on="o_orderkey")
        .filter(col("o_orderdate").is_between(date(1995, 1, 1), date(1996, 12, 31)))
        .join(table("customer"), left_on="o_custkey", right_on="c_custkey")
        .join(
            nation.select("n_nationkey", "n_regionkey"),
            left_on="c_nationkey",
            right_on="n_nationkey",
        )
        .join(table("region"), left_on="n_regionkey", right_on="r_regionkey")
        .filter(col("r_name") == "AMERICA")
        .join(
            nation.select("n_nationkey", col("n_name").alias("nation")),
            left_on="s_nationkey",
            right_on="n_nationkey",
        )
        .select(col("o_orderdate").dt.year().alias("o_year"), _REVENUE.alias("volume"), "nation")
        .group_by("o_year")
        .agg(
            (brazil.sum().cast(pl.Float64) / col("volume").sum().cast(pl.Float64)).alias(
                "mkt_share"
            )
        )
        .sort("o_year")
    )


def q9(table: Table) -> pl.LazyFrame:
    """Product type profit measure."""
    return (
        table("part")
        .filter(col("p_name").str.contains("green", literal=True))
        .join(table("lineitem"), left_on="p_partkey", right_on="l_partkey")
        .join(table("supplier"), left_on="l_suppkey", right_on="s_suppkey")
        .join(
            table("partsupp"),
            left_on=["l_suppkey", "p_partkey"],
            right_on=["ps_suppkey", "ps_partkey"],
        )
        .join(table("orders"), left_on="l_orderkey", right_on="o_orderkey")
        .join(table("nation"), left_on="s_nationkey", right_on="n_nationkey")
        .select(
            col("n_name").alias("nation"),
            col("o_orderdate").dt.year().alias("o_year"),
            (_REVENUE - col("ps_supplycost") * col("l_quantity")).alias("amount"),
        )
        .group_by("nation", "o_year")
        .agg(col("amount").sum().alias("sum_profit"))
        .sort("nation", "o_year", descending=[False, True])
    )


def q10(table: Table) -> pl.LazyFrame:
    """Returned item reporting."""
    return (
        table("customer")
        .join(table("orders"), left_on="c_custkey", right_on="o_custkey")
        .filter(col("o_orderdate") >= date(1993, 10, 1), col("o_orderdate") < date(1994, 1, 1))
        .join(table("lineitem"), left_on="o_orderkey", right_on="l_orderkey")
        .filter(col("l_returnflag") == "R")
        .join(table("nation"), left_on="c_nationkey", right_on="n_nationkey")
        .group_by(
            *("c_custkey", "c_name", "c_acctbal", "c_phone", "n_name", "c_address", "c_comment")
        )
        .agg(_REVENUE.sum().alias("revenue"))
        .select(
            *("c_custkey", "c_name", "revenue", "c_acctbal"),
            *("n_name", "c_address", "c_phone", "c_comment"),
        )
        .sort("revenue", descending=True)
        .head(20)
    )


def q11(table: Table) -> pl.LazyFrame:
    """Important stock identification. The fraction is that of scale 1 divided by the scale."""
    value = col("ps_supplycost") * col("ps_availqty")
    stock = (
        table("partsupp")
        .join(table("supplier"), left_on="ps_suppkey", right_on="s_suppkey")
        .join(table("nation"), left_on="s_nationkey", right_on="n_nationkey")
        .filter(col("n_name") == "GERMANY")
    )
    scale = table("supplier").select(pl.len() / 10_000).select(fraction=0.0001 / col("len"))
    total = stock.select(value.sum().cast(pl.Float64).alias("total"))
    return (
        stock.group_by("ps_partkey")
        .agg(value.sum().alias("value"))
        .join(total, how="cross")
        .join(scale, how="cross")
        .filter(col("value").cast(pl.Float64) > col("total") * col("fraction"))
        .select("ps_partkey", "value")
        .sort("value", descending=True)
    )


def q12(table: Table) -> pl.LazyFrame:
    """Shipping modes and order priority."""
    urgent = col("o_orderpriority").is_in(["1-URGENT", "2-HIGH"])
    return (
        table("orders")
        .join(table("lineitem"), left_on="o_orderkey", right_on="l_orderkey")
        .filter(
            col("l_shipmode").is_in(["MAIL", "SHIP"]),
            col("l_commitdate") < col("l_receiptdate"),
            col("l_shipdate") < col("l_commitdate"),
            col("l_receiptdate") >= date(1994, 1, 1),
            col("l_receiptdate") < date(1995, 1, 1),
        )
        .group_by("l_shipmode")
        .agg(
            urgent.cast(pl.Int64).sum().alias("high_line_count"),
            (~urgent).cast(pl.Int64).sum().alias("low_line_count"),
        )
        .sort("l_shipmode")
    )


def q13(table: Table) -> pl.LazyFrame:
    """Customer distribution."""
    usual = table("orders").filter(~col("o_comment").str.contains("special.*requests"))
    return (
        table("customer")
        .join(usual, left_on="c_custkey", right_on="o_custkey", how="left")
        .group_by("c_custkey")
        .agg(col("o_orderkey").count().alias("c_count"))
        .group_by("c_count")
        .agg(pl.len().alias("custdist"))
        .sort("custdist", "c_count", descending=True)
    )


def q14(table: Table) -> pl.LazyFrame:
    """Promotion effect."""
    promotion = pl.when(col("p_type").str.starts_with("PROMO")).then(_REVENUE).otherwise(0)
    return (
        table("lineitem")
        .filter(col("l_shipdate") >= date(1995, 9, 1), col("l_shipdate") < date(1995, 10, 1))
        .join(table("part"), left_on="l_partkey", right_on="p_partkey")
        .select(
            (100.0 * promotion.sum().cast(pl.Float64) / _REVENUE.sum().cast(pl.Float64)).alias(
                "promo_revenue"
            )
        )
    )


def q15(table: Table) -> pl.LazyFrame:
    """Top supplier."""
    revenue = (
        table("lineitem")
        .filter(col("l_shipdate") >= date(1996, 1, 1), col("l_shipdate") < date(1996, 4, 1))
        .group_by("l_suppkey")
        .agg(_REVENUE.sum().alias("total_revenue"))
    )
    return (
        table("supplier")
        .join(revenue, left_on="s_suppkey", right_on="l_suppkey")
        .join(revenue.select(col("total_revenue").max()), on="total_revenue")
        .select("s_suppkey", "s_name", "s_address", "s_phone", "total_revenue")
        .sort("s_suppkey")
    )


def q16(table: Table) -> pl.LazyFrame:
    """Parts and supplier relationship."""
    complaints = table("supplier").filter(col("s_comment").str.contains("Customer.*Complaints"))
    return (
        table("partsupp")
        .join(table("part"), left_on="ps_partkey", right_on="p_partkey")
        .filter(
            col("p_brand") != "Brand#45",
            ~col("p_type").str.starts_with("MEDIUM POLISHED"),
            col("p_size").is_in([49, 14, 23, 45, 19, 3, 36, 9]),
        )
        .join(complaints, left_on="ps_suppkey", right_on="s_suppkey", how="anti")
        .group_by("p_brand", "p_type", "p_size")
        .agg(col("ps_suppkey").n_unique().alias("supplier_cnt"))
        .sort(
            *("supplier_cnt", "p_brand", "p_type", "p_size"),
            descending=[True, False, False, False],
        )
    )


def q17(table: Table) -> pl.LazyFrame:
    """Small-quantity-order revenue."""
    lines = (
        table("part")
        .filter(col("p_brand") == "Brand#23", col("p_container") == "MED BOX")
        .join(table("lineitem"), left_on="p_partkey", right_on="l_partkey")
    )
    usual = lines.group_by("p_partkey").agg((0.2 * col("l_quantity").mean()).alias("limit"))
    return (
        lines.join(usual, on="p_partkey")
        .filter(col("l_quantity").cast(pl.Float64) < col("limit"))
        .select((col("l_extendedprice").sum().cast(pl.Float64) / 7.0).alias("avg_yearly"))
    )


def q18(table: Table) -> pl.LazyFrame:
    """Large volume customer."""
    large = (
        table("lineitem")
        .group_by("l_orderkey")
        .agg(col("l_quantity").sum().alias("sum_quantity"))
        .filter(col("sum_quantity") > 300)
    )
    return (
        table("orders")
        .join(large, left_on="o_orderkey", right_on="l_orderkey", how="semi")
        .join(table("lineitem"), left_on="o_orderkey", right_on="l_orderkey")
        .join(table("customer"), left_on="o_custkey", right_on="c_custkey")
        .group_by(
            "c_name",
            col("o_custkey").alias("c_custkey"),
            "o_orderkey",
            "o_orderdate",
            "o_totalprice",
        )
        .agg(col("l_quantity").sum().alias("sum_quantity"))
        .sort("o_totalprice", "o_orderdate", descending=[True, False])
        .head(100)
    )


def q19(table: Table) -> pl.LazyFrame:
    """Discounted revenue."""

    def kind(brand: str, containers: list[str], least: int, largest: int) -> pl.Expr:
        return (
            (col("p_brand") == brand)
            & col("p_container").is_in(containers)
            & col("l_quantity").is_between(least, least + 10)
            & col("p_size").is_between(1, largest)
        )

    return (
        table("lineitem")
        .join(table("part"), left_on="l_partkey", right_on="p_partkey")
        .filter(
            col("l_shipmode").is_in(["AIR", "AIR REG"]),
            col("l_shipinstruct") == "DELIVER IN PERSON",
            kind("Brand#12", ["SM CASE", "SM BOX", "SM PACK", "SM PKG"], 1, 5)
            | kind("Brand#23", ["MED BAG", "MED BOX", "MED PKG", "MED PACK"], 10, 10)
            | kind("Brand#34", ["LG CASE", "LG BOX", "LG PACK", "LG PKG"], 20, 15),
        )
        .select(_REVENUE.sum().alias("revenue"))
    )


def q20(table: Table) -> pl.LazyFrame:
    """Potential part promotion."""
    shipped = (
        table("lineitem")
        .filter(col("l_shipdate") >= date(1994, 1, 1), col("l_shipdate") < date(1995, 1, 1))
        .group_by("l_partkey", "l_suppkey")
        .agg((0.5 * col("l_quantity").sum().cast(pl.Float64)).alias("half"))
    )
    forest = table("part").filter(col("p_name").str.starts_with("forest"))
    surplus = (
        table("partsupp")
        .join(forest, left_on="ps_partkey", right_on="p_partkey", how="semi")
        .join(
            shipped,
            left_on=["ps_partkey", "ps_suppkey"],
            right_on=["l_partkey", "l_suppkey"],
        )
        .filter(col("ps_availqty") > col("half"))
    )
    return (
        table("supplier")
        .join(table("nation"), left_on="s_nationkey", right_on="n_nationkey")
        .filter(col("n_name") == "CANADA")
        .join(surplus, left_on="s_suppkey", right_on="ps_suppkey", how="semi")
        .select("s_name", "s_address")
        .sort("s_name")
    )


def q21(table: Table) -> pl.LazyFrame:
    """Suppliers who kept orders waiting."""
    late = table("lineitem").filter(col("l_receiptdate") > col("l_commitdate"))
    shared = (
        table("lineitem")
        .group_by("l_orderkey")
        .agg(col("l_suppkey").n_unique().alias("suppliers"))
        .filter(col("suppliers") > 1)
    )
    blamed = (
        late.group_by("l_orderkey")
        .agg(col("l_suppkey").n_unique().alias("late_suppliers"))
        .filter(col("late_suppliers") == 1)
    )
    return (
        late.join(shared, on="l_orderkey", how="semi")
        .join(blamed, on="l_orderkey", how="semi")
        .join(table("supplier"), left_on="l_suppkey", right_on="s_suppkey")
        .join(table("nation"), left_on="s_nationkey", right_on="n_nationkey")
        .filter(col("n_name") == "SAUDI ARABIA")
        .join(table("orders"), left_on="l_orderkey", right_on="o_orderkey")
        .filter(col("o_orderstatus") == "F")
        .group_by("s_name")
        .agg(pl.len().alias("numwait"))
        .sort("numwait", "s_name", descending=[True, False])
        .head(100)
    )


def q22(table: Table) -> pl.LazyFrame:
    """Global sales opportunity."""
    customers = table("customer").select(
        col("c_phone").str.slice(0, 2).alias("cntrycode"), "c_acctbal", "c_custkey"
    )
    chosen = customers.filter(col("cntrycode").is_in(["13", "31", "23", "29", "30", "18", "17"]))
    mean = chosen.filter(col("c_acctbal") > 0).select(col("c_acctbal").mean().alias("mean"))
    return (
        chosen.join(mean, how="cross")
        .filter(col("c_acctbal").cast(pl.Float64) > col("mean"))
        .join(table("orders"), left_on="c_custkey", right_on="o_custkey", how="anti")
        .group_by("cntrycode")
        .agg(pl.len().alias("numcust"), col("c_acctbal").sum().alias("totacctbal"))
        .sort("cntrycode")
    )


QUERIES: Mapping[str, Callable[[Table], pl.LazyFrame]] = {
    query.__name__: query
    for query in (
        *(q1, q2, q3, q4, q5, q6, q7, q8, q9, q10, q11),
        *(q12, q13, q14, q15, q16, q17, q18, q19, q20, q21, q22),
    )
}
