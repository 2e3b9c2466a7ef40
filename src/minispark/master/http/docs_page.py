"""The page of routes at ``/docs``, plain HTML that loads nothing else."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
td, th { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #ccc;
         vertical-align: top }
code { font: 14px ui-monospace, monospace; white-space: nowrap }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_docs_page(app: FastAPI) -> None:
    """Serve a page that lists the routes of the OpenAPI document."""

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return HTMLResponse(_page(app), headers=_HEADERS)


def _page(app: FastAPI) -> str:
    rows = []
    for path, operations in app.openapi()["paths"].items():
        for method, operation in operations.items():
            names = ", ".join(
                parameter["name"]
                for parameter in operation.get("parameters", ())
                if parameter["in"] == "query"
            )
            rows.append(
                f"<tr><td><code>{escape(method.upper())} {escape(path)}</code></td>"
                f"<td>{escape(operation.get('description', ''))}</td>"
                f"<td><code>{escape(names)}</code></td></tr>"
            )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        f"<title>Mini-Spark: routes</title><style>{_STYLE}</style>"
        "<h1>Mini-Spark: routes</h1>"
        "<p>The same for programs: <a href=/openapi.json><code>/openapi.json</code></a>. "
        "Calls carry <code>Authorization: Bearer TOKEN</code>.</p>"
        "<table><tr><th>route</th><th></th><th>parameters</th></tr>"
        f"{''.join(rows)}</table></html>"
    )
