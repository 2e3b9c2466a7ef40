"""The token that each route of the master takes.

A route that is not named here takes the shared secret only, so a new route is closed by default.
"""

from __future__ import annotations

import re

from minispark.settings import Limits
from minispark.wire.guard import SUBMIT, VIEW, WORKER, RouteRule

_GET = frozenset({"GET", "HEAD"})
_POST = frozenset({"POST"})
_DELETE = frozenset({"DELETE"})
_JOB = r"/api/v1/jobs/[^/]+"
_WORKER = r"/internal/v1/workers/[^/]+"

ALWAYS_OPEN = (
    (_GET, re.compile(r"/healthz")),
    # A login needs the code of its link, and assets are public files of the package.
    (_GET, re.compile(r"/login")),
    (_GET, re.compile(r"/assets/[0-9a-f]+/[a-z0-9/.-]+")),
)
BROWSER_PATHS = re.compile(r"(?!/internal/).*", re.DOTALL)
"""Paths that take the cookie of a browser: all but those between master and workers."""
FIGURES = (
    (_GET, re.compile(r"/openapi\.json|/docs")),
    (_GET, re.compile(r"/api/v1/jobs/[A-Za-z0-9-]+/(metrics|stages)")),
    (_GET, re.compile(r"/metrics|/api/v1/metrics/(system|jobs|failures)")),
    (_GET, re.compile(r"/api/v1/state")),
)
"""Ids, statuses, counts and times: no names, data, code, paths, errors or logs."""

OTHER_BYTES = 64 << 10
"""Limit of a body without a rule: these routes take none, or a short form."""

_RULES = (
    RouteRule(_GET, re.compile(r"/healthz|/openapi\.json|/docs"), VIEW),
    RouteRule(_GET, re.compile(r"/api/v1/(jobs|workers|state|events)"), VIEW),
    RouteRule(_GET, re.compile(r"/metrics|/api/v1/metrics/(system|jobs|failures|load)"), VIEW),
    RouteRule(
        _GET, re.compile(rf"{_JOB}(/(metrics|stages|tasks|events|sheet|timeline|story|why))?"), VIEW
    ),
    RouteRule(_GET, re.compile(r"/|/workers|/load|/events|/compare|/login|/assets/.+"), VIEW),
    RouteRule(_GET, re.compile(r"/jobs/[^/]+(/(events|tasks))?"), VIEW),
    RouteRule(_GET, re.compile(r"/api/v1/pulse"), VIEW),
    RouteRule(_POST, re.compile(r"/api/v1/login-links|/logout"), VIEW),
    RouteRule(_GET, re.compile(r"/submit"), SUBMIT),
    # The token that shows that a job runs does not show its rows, nor what its functions print.
    RouteRule(_GET, re.compile(rf"{_JOB}/(results|source)"), SUBMIT),
    RouteRule(_POST, re.compile(rf"{_JOB}/rerun"), SUBMIT),
    RouteRule(_GET, re.compile(r"/api/v1/workers/[^/]+/logs"), SUBMIT),
    RouteRule(_DELETE, re.compile(_JOB), SUBMIT),
    RouteRule(_GET, re.compile(r"/internal/v1/jobs/[^/]+/(blocks|plan)"), SUBMIT),
    RouteRule(_POST, re.compile(rf"/internal/v1/workers|{_WORKER}/(poll|drain|fragments)"), WORKER),
    RouteRule(_DELETE, re.compile(_WORKER), WORKER),
)


def rules(limits: Limits) -> tuple[RouteRule, ...]:
    """Return the token and the limit of the body of each route."""
    return (
        *_RULES,
        RouteRule(_POST, re.compile(r"/api/v1/jobs"), SUBMIT, limits.job_bytes),
        RouteRule(_POST, re.compile(r"/internal/v1/jobs"), SUBMIT, limits.body_bytes),
        # A worker may have very many blocks, or end many tasks at once.
        RouteRule(_POST, re.compile(rf"{_WORKER}/(reports|heartbeat)"), WORKER, limits.body_bytes),
    )
