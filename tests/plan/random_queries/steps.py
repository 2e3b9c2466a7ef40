"""All steps of random queries, and how often each is drawn."""

from __future__ import annotations

from collections.abc import Callable

from tests.plan.random_queries import (
    group_steps,
    join_steps,
    order_steps,
    place_steps,
    row_steps,
    sql,
    window_steps,
)
from tests.plan.random_queries.chance import Chance
from tests.plan.random_queries.step import Step

Maker = Callable[[Chance], Step]

STEPS: dict[Maker, int] = {
    row_steps.filter_step: 9,
    row_steps.project_step: 5,
    row_steps.select_step: 5,
    row_steps.add_step: 6,
    row_steps.replace_column_step: 2,
    order_steps.only_step: 2,
    row_steps.many_step: 6,
    row_steps.several_files_step: 2,
    join_steps.update_step: 1,
    order_steps.with_whole_step: 6,
    order_steps.with_positions_step: 6,
    order_steps.filter_on_whole_step: 4,
    order_steps.exploding_window_step: 1,
    group_steps.reduce_step: 5,
    group_steps.reduce_all_step: 2,
    group_steps.group_step: 14,
    group_steps.odd_group_step: 4,
    group_steps.unique_step: 5,
    order_steps.sort_step: 4,
    order_steps.sort_by_expression_step: 1,
    order_steps.top_step: 2,
    order_steps.slice_step: 5,
    order_steps.sorted_head_step: 3,
    order_steps.row_index_step: 2,
    row_steps.explode_step: 4,
    row_steps.unnest_step: 2,
    row_steps.unpivot_step: 3,
    group_steps.pivot_step: 3,
    row_steps.union_step: 4,
    order_steps.beside_step: 2,
    order_steps.merge_step: 2,
    row_steps.nulls_step: 5,
    row_steps.strict_step: 1,
    join_steps.join_step: 12,
    join_steps.own_groups_step: 3,
    join_steps.own_rows_step: 3,
    join_steps.few_rows_step: 2,
    join_steps.cross_step: 1,
    join_steps.join_where_step: 3,
    join_steps.asof_step: 3,
    group_steps.rolling_step: 2,
    group_steps.dynamic_step: 2,
    row_steps.cache_step: 1,
    sql.sql_step: 10,
    order_steps.order_step: 3,
    window_steps.sort_by_keys_step: 5,
    window_steps.windows_step: 8,
    window_steps.filter_on_windows_step: 3,
    window_steps.sorted_windows_step: 3,
    place_steps.places_step: 8,
    place_steps.filter_on_places_step: 3,
    place_steps.reduced_places_step: 3,
}
