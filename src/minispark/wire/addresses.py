"""The address of a master as a user writes it, and which server answers there.

::

    http://host:8080   http://host:8080/   HTTPS://host   taken as they are
    127.0.0.1:8080   localhost             http on loopback; 8080 is the port of a master
    host:8080   http://host/jobs   http://host:99999   refused, with the address that would do

`server_kind` is for messages after a request has failed: it sends no token.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import ssl
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from minispark.errors import UsageError
from minispark.wire.hosts import is_loopback

MASTER_PORT = 8080
_SCHEMES = {"http": 80, "https": 443}
_PROBE_S = 2.0
_ANSWER_BYTES = 4096
_HINT = "It is http://HOST:PORT or https://HOST:PORT, such as http://127.0.0.1:8080."

ServerKind = Literal["worker", "https", "http"]


def has_scheme(text: str) -> bool:
    """Whether an address says how to speak with the server."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text.strip()) is not None


def master_url(text: str) -> str:
    """Return ``scheme://host:port`` of an address that a user wrote.

    Raises
    ------
    UsageError
        The address is not that of a server, or of a server on another machine without a scheme.
    """
    written = text.strip()
    if not has_scheme(written):
        address = _parts(f"http://{written}", written)
        server = _server(address, default_port=MASTER_PORT)
        if not is_loopback(address.hostname or ""):
            msg = f"the address {written!r} does not say whether the master uses http or https"
            hint = f"Write https://{server} if it was started with --tls-cert, else http://{server}"
            raise UsageError(msg, code="MS-503", hint=f"{hint}.")
        _check_rest(address, written, f"http://{server}")
        return f"http://{server}"
    address = _parts(written, written)
    if address.scheme not in _SCHEMES:
        msg = f"a master has no {address.scheme}:// address: {written!r}"
        raise UsageError(msg, code="MS-503", hint=_HINT)
    url = f"{address.scheme}://{_server(address)}"
    _check_rest(address, written, url)
    return url


def server_of(url: str) -> tuple[str, int]:
    """Return host and port of a URL; all names of loopback are one host."""
    address = urlsplit(url)
    host = (address.hostname or "").rstrip(".")
    port = address.port or _SCHEMES.get(address.scheme, 0)
    return ("localhost" if is_loopback(host) else host), port


def wrong_server(url: str) -> UsageError | None:
    """Return why the server at a URL is no master for this URL; None if it may be one."""
    master = "A master prints its URL when it starts; name it with --master URL."
    match server_kind(url):
        case "worker":
            msg = f"the server at {url} is a worker, not a master"
            return UsageError(msg, code="MS-502", hint=master)
        case "https":
            hint = f"Write https{url.removeprefix('http')}"
            return UsageError(
                f"the server at {url} speaks https, not http", code="MS-614", hint=hint
            )
        case "http":
            hint = f"Write http{url.removeprefix('https')}"
            return UsageError(
                f"the server at {url} speaks http, not https", code="MS-614", hint=hint
            )
    return None


def server_kind(url: str) -> ServerKind | None:
    """Ask the server at a URL what it is; None if it is something else or does not answer.

    ``https`` and ``http`` name the scheme that the server speaks, where the URL has the other one.
    """
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or _SCHEMES[address.scheme]
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        if address.scheme == "http" and _speaks_tls(host, port):
            return "https"
        if address.scheme == "https" and not _speaks_tls(host, port):
            return "http"
        body = _health(host, port, tls=address.scheme == "https")
        return "worker" if isinstance(body, dict) and body.get("server") == "worker" else None
    return None


def port_is_free(port: int) -> bool:
    """Whether a server could listen at a port of loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _parts(url: str, written: str) -> SplitResult:
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError as error:
        reason = "its port is not a number from 1 to 65535" if "ort" in str(error) else str(error)
        msg = f"the address of the master {written!r} is not valid: {reason}"
        raise UsageError(msg, code="MS-503", hint=_HINT) from None
    if not address.hostname or re.search(r"\s", url) or port == 0:
        reason = "its port is not a number from 1 to 65535" if port == 0 else "it names no host"
        msg = f"the address of the master {written!r} is not valid: {reason}"
        raise UsageError(msg, code="MS-503", hint=_HINT)
    return address


def _server(address: SplitResult, *, default_port: int | None = None) -> str:
    host = address.hostname or ""
    port = address.port or default_port
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _check_rest(address: SplitResult, written: str, url: str) -> None:
    """Refuse what follows the server in a URL, such as the path of a copied page."""
    if address.username is not None:
        # What follows the name may be a password.
        msg = "the address of the master contains a user name"
        raise UsageError(msg, code="MS-503", hint=f"Write {url}; the token is in MINISPARK_TOKEN.")
    if address.path not in ("", "/") or address.query or address.fragment:
        msg = f"the address of the master {written!r} has text after the port"
        raise UsageError(msg, code="MS-503", hint=f"Write {url}")


def _speaks_tls(host: str, port: int) -> bool:
    """Whether a server answers the greeting of TLS, trusted or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, port), _PROBE_S) as plain:
        try:
            with context.wrap_socket(plain):
                return True
        except ssl.SSLError as error:
            return "ALERT" in (error.reason or "")
        except OSError:
            return False


def _health(host: str, port: int, *, tls: bool) -> object:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = (
        http.client.HTTPSConnection(host, port, timeout=_PROBE_S, context=context)
        if tls
        else http.client.HTTPConnection(host, port, timeout=_PROBE_S)
    )
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        return json.loads(connection.getresponse().read(_ANSWER_BYTES))
