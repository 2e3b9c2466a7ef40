"""Queries of TPC-DS as LazyFrames, with the parameters of the validation runs.

They are the ones that need more than Polars' SQL reads: correlated subqueries, scalar subqueries,
several scans of one table side by side. The other queries are SQL texts, in ``tpcds.sql``; those of
these are there too, for DuckDB.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import polars as pl
from polars import col

Table = Callable[[str], pl.LazyFrame]


def q1(table: Table) -> pl.LazyFrame:
    """Customers who return more than others of their store."""
    days = table("date_dim").filter(col("d_year") == 2000)
    amount = col("sr_return_amt").cast(pl.Float64)
    returns = (
        table("store_returns")
        .join(days, left_on="sr_returned_date_sk", right_on="d_date_sk")
        .group_by("sr_customer_sk", "sr_store_sk")
        .agg(pl.when(amount.count() > 0).then(amount.sum()).alias("total"))
    )
    usual = returns.group_by("sr_store_sk").agg((1.2 * col("total").mean()).alias("usual"))
    return (
        returns.join(usual, on="sr_store_sk")
        .filter(col("total") > col("usual"))
        .join(table("store"), left_on="sr_store_sk", right_on="s_store_sk")
        .filter(col("s_state") == "TN")
        .join(table("customer"), left_on="sr_customer_sk", right_on="c_customer_sk")
        .select("c_customer_id")
        .sort("c_customer_id")
        .head(100)
    )


def q6(table: Table) -> pl.LazyFrame:
    """States whose customers buy items far above the price of their category."""
    month = (
        table("date_dim")
        .filter(col("d_year") == 2001, col("d_moy") == 1)
        .select("d_month_seq")
        .unique()
    )
    days = table("date_dim").join(month, on="d_month_seq", how="semi")
    price = col("i_current_price").cast(pl.Float64)
    usual = table("item").group_by("i_category").agg(price.mean().alias("usual"))
    items = table("item").join(usual, on="i_category").filter(price > 1.2 * col("usual"))
    return (
        table("customer_address")
        .join(table("customer"), left_on="ca_address_sk", right_on="c_current_addr_sk")
        .join(table("store_sales"), left_on="c_customer_sk", right_on="ss_customer_sk")
        .join(days, left_on="ss_sold_date_sk", right_on="d_date_sk", how="semi")
        .join(items, left_on="ss_item_sk", right_on="i_item_sk", how="semi")
        .group_by("ca_state")
        .agg(pl.len().alias("cnt"))
        .filter(col("cnt") >= 10)
        .sort("cnt", "ca_state", nulls_last=False)
        .head(100)
    )


def _days(table: Table, name: str, *conditions: pl.Expr) -> pl.LazyFrame:
    return table("date_dim").filter(*conditions).select(col("d_date_sk").alias(name))


def _sold_returned_and_bought_again(
    table: Table, sold: pl.Expr, returned: pl.Expr, again: pl.Expr
) -> pl.LazyFrame:
    """Return store sales that were returned and whose item the customer bought by catalog."""
    return (
        table("store_sales")
        .join(
            table("store_returns"),
            left_on=["ss_customer_sk", "ss_item_sk", "ss_ticket_number"],
            right_on=["sr_customer_sk", "sr_item_sk", "sr_ticket_number"],
        )
        .join(
            table("catalog_sales"),
            left_on=["ss_customer_sk", "ss_item_sk"],
            right_on=["cs_bill_customer_sk", "cs_item_sk"],
        )
        .join(_days(table, "sold", sold), left_on="ss_sold_date_sk", right_on="sold")
        .join(_days(table, "back", returned), left_on="sr_returned_date_sk", right_on="back")
        .join(_days(table, "again", again), left_on="cs_sold_date_sk", right_on="again")
        .join(table("store"), left_on="ss_store_sk", right_on="s_store_sk")
        .join(table("item"), left_on="ss_item_sk", right_on="i_item_sk")
    )


def q25(table: Table) -> pl.LazyFrame:
    """Profit of items that were sold, returned and bought again."""
    year = col("d_year") == 2001
    keys = ["i_item_id", "i_item_desc", "s_store_id", "s_store_name"]
    later = year & col("d_moy").is_between(4, 10)
    return (
        _sold_returned_and_bought_again(table, year & (col("d_moy") == 4), later, later)
        .group_by(keys)
        .agg(
            col("ss_net_profit").sum().alias("store_sales_profit"),
            col("sr_net_loss").sum().alias("store_returns_loss"),
            col("cs_net_profit").sum().alias("catalog_sales_profit"),
        )
        .sort(keys)
        .head(100)
    )


def q29(table: Table) -> pl.LazyFrame:
    """Quantities of items that were sold, returned and bought again."""
    year = col("d_year")
    keys = ["i_item_id", "i_item_desc", "s_store_id", "s_store_name"]
    sold = (year == 1999) & (col("d_moy") == 9)
    returned = (year == 1999) & col("d_moy").is_between(9, 12)
    return (
        _sold_returned_and_bought_again(table, sold, returned, year.is_in([1999, 2000, 2001]))
        .group_by(keys)
        .agg(
            col("ss_quantity").sum().alias("store_sales_quantity"),
            col("sr_return_quantity").sum().alias("store_returns_quantity"),
            col("cs_quantity").sum().alias("catalog_sales_quantity"),
        )
        .sort(keys)
        .head(100)
    )


def q61(table: Table) -> pl.LazyFrame:
    """The share of promotions in the sales of a month."""
    month = (col("d_year") == 1998) & (col("d_moy") == 11)
    east = table("customer_address").filter(col("ca_gmt_offset").cast(pl.Float64) == -5)
    sales = (
        table("store_sales")
        .join(_days(table, "day", month), left_on="ss_sold_date_sk", right_on="day")
        .join(
            table("store").filter(col("s_gmt_offset").cast(pl.Float64) == -5),
            left_on="ss_store_sk",
            right_on="s_store_sk",
        )
        .join(table("customer"), left_on="ss_customer_sk", right_on="c_customer_sk")
        .join(east, left_on="c_current_addr_sk", right_on="ca_address_sk")
        .join(
            table("item").filter(col("i_category") == "Jewelry"),
            left_on="ss_item_sk",
            right_on="i_item_sk",
        )
    )
    channels = [col(f"p_channel_{name}") == "Y" for name in ("dmail", "email", "tv")]
    price = col("ss_ext_sales_price").sum().cast(pl.Float64)
    promoted = (
        sales.join(table("promotion"), left_on="ss_promo_sk", right_on="p_promo_sk")
        .filter(pl.any_horizontal(channels))
        .select(price.alias("promotions"))
    )
    return promoted.join(sales.select(price.alias("total")), how="cross").with_columns(
        (col("promotions") / col("total") * 100).alias("percent")
    )


def q88(table: Table) -> pl.LazyFrame:
    """Sales of a store in each half hour of the morning, side by side."""
    households = table("household_demographics").filter(
        ((col("hd_dep_count") == 4) & (col("hd_vehicle_count") <= 6))
        | ((col("hd_dep_count") == 2) & (col("hd_vehicle_count") <= 4))
        | ((col("hd_dep_count") == 0) & (col("hd_vehicle_count") <= 2))
    )

    def count(hour: int, *, late: bool) -> pl.LazyFrame:
        minute = col("t_minute") >= 30 if late else col("t_minute") < 30
        return (
            table("store_sales")
            .join(households, left_on="ss_hdemo_sk", right_on="hd_demo_sk")
            .join(
                table("time_dim").filter(col("t_hour") == hour, minute),
                left_on="ss_sold_time_sk",
                right_on="t_time_sk",
            )
            .join(
                table("store").filter(col("s_store_name") == "ese"),
                left_on="ss_store_sk",
                right_on="s_store_sk",
            )
            .select(pl.len().alias(f"h{hour}_{'30' if late else '00'}"))
        )

    halves = [(8, True), *((hour, late) for hour in (9, 10, 11) for late in (False, True))]
    first, *others = (count(hour, late=late) for hour, late in [*halves, (12, False)])
    for other in others:
        first = first.join(other, how="cross")
    return first


def q92(table: Table) -> pl.LazyFrame:
    """Discounts far above the usual discount of their item."""
    days = (
        table("date_dim")
        .filter(col("d_date").is_between(pl.date(2000, 1, 27), pl.date(2000, 4, 26)))
        .select("d_date_sk")
    )
    sales = table("web_sales").join(days, left_on="ws_sold_date_sk", right_on="d_date_sk")
    discount = col("ws_ext_discount_amt").cast(pl.Float64)
    usual = sales.group_by("ws_item_sk").agg((1.3 * discount.mean()).alias("usual"))
    items = table("item").filter(col("i_manufact_id") == 350)
    return (
        sales.join(items, left_on="ws_item_sk", right_on="i_item_sk", how="semi")
        .join(usual, on="ws_item_sk")
        .filter(discount > col("usual"))
        .select(discount.sum().alias("excess_discount_amount"))
    )


QUERIES: Mapping[str, Callable[[Table], pl.LazyFrame]] = {
    query.__name__: query for query in (q1, q6, q25, q29, q61, q88, q92)
}
