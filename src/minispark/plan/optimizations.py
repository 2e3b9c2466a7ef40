"""Polars' optimizer flags as plain data: those of a query apply to every fragment of it.

Some flags change what a query gives (``sort_collapse``) or whether it fails (without
``projection_pushdown`` a column that is selected away is computed after all).
"""

from __future__ import annotations

import inspect

import polars as pl

from minispark.plan.stages import OptimizerFlags

_NAMES = tuple(inspect.signature(pl.QueryOptFlags).parameters)


def changed_flags(flags: pl.QueryOptFlags) -> OptimizerFlags:
    """Return the flags that differ from Polars' defaults."""
    default = pl.QueryOptFlags()
    values = ((name, bool(getattr(flags, name))) for name in _NAMES)
    return tuple((name, on) for name, on in values if on != getattr(default, name))


def query_flags(changed: OptimizerFlags) -> pl.QueryOptFlags:
    """Return Polars' defaults with some flags changed."""
    return pl.QueryOptFlags(**dict(changed))


def fragment_flags(changed: OptimizerFlags) -> pl.QueryOptFlags:
    """Return the flags for a fragment that runs.

    Polars gives up the order of a scan that it thinks unobserved. It overlooks the predicate of
    ``when(...).then(1)``: such rows come in another order each time, and a fragment would not keep
    what its label says. The flag costs nothing measurable where order is unobserved indeed.
    """
    return query_flags((("check_order_observe", False), *changed))
