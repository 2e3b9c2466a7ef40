"""The version of the scheduler, which the journal records."""

from __future__ import annotations

from typing import Final

SCHEDULER_VERSION: Final = 5
"""Increase it by one if equal facts at equal times may lead to other commands, or a snapshot to
another state: a rule of placement, a charge in the policy table, a default of `SchedulerSettings`,
a field of an event, of a command or of the state. Not for readers, and not for speed. A journal of
another version is not replayed: its running jobs end FAILED with the reason, which is better than
to continue from decisions that were never made."""

REPLAYED_VERSIONS: Final = frozenset({4, SCHEDULER_VERSION})
"""Versions whose journals are replayed. Version 4 decided the same as 5, but did not say why,
nor which reports it accepted."""
