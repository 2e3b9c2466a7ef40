"""Which scheduler this is, to a journal that another one wrote."""

from __future__ import annotations

from typing import Final

SCHEDULER_VERSION: Final = 5
"""Raise it by one whenever equal facts at equal times may lead to other commands, or a snapshot to
another state: a rule of placement, a price in the policy table, a default of `SchedulerSettings`, a
field of an event, of a command or of what is remembered. Not for what only watches, and not for
speed. A journal of another version is not replayed: its running jobs end FAILED and say why, which
is better than going on from decisions that were never made."""

REPLAYED_VERSIONS: Final = frozenset({4, SCHEDULER_VERSION})
"""Versions whose journals are replayed. Version 4 decided the same as 5, but did not say why,
nor which reports it accepted."""
