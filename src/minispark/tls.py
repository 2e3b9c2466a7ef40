"""TLS by the paths of certificates: what a server shows, and whom a client trusts.

A client trusts the authorities of the system, or only those of the file that it was given. A
server's own certificate in that file will do: a cluster needs no authority.

Covers: checking the files, contexts, saying why a connection failed. Does not cover: where the
paths come from (`minispark.config`, the command line).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from minispark.errors import UsageError

TRUST_HINT = (
    "Name the file of certificates to trust with MINISPARK_CA_FILE or --ca-file. The certificate "
    "must be made for the very name or address that the URL has."
)


def check_certificate(cert: Path | None, key: Path | None) -> None:
    """Check that what a server would show can be shown.

    Raises
    ------
    UsageError
        Half a certificate, or files that cannot be read or do not belong together.
    """
    if (cert is None) != (key is None):
        msg = "TLS needs both --tls-cert and --tls-key"
        raise UsageError(msg, code="MS-106")
    if cert is None or key is None:
        return
    for path in (cert, key):
        try:
            path.open("rb").close()
        except OSError as error:
            msg = f"cannot read {path}: {error.strerror}"
            raise UsageError(msg, code="MS-613", file=str(path)) from error
    try:
        # Without a password of its own, OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"the certificate {cert} and the key {key} cannot be used: {_reason(error)}",
            code="MS-613",
            file=str(cert),
            hint="Both are PEM, the key is not encrypted, and it is the key of the certificate.",
        ) from error


def server_tls(cert: Path | None, key: Path | None) -> dict[str, Any]:
    """Return what uvicorn is told; nothing without a certificate."""
    return {} if cert is None else {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}


def client_context(url: str | None, ca_file: str | None) -> ssl.SSLContext:
    """Return how to make connections to a URL (None: to any).

    Raises
    ------
    UsageError
        ``ca_file`` cannot be read or holds no certificate.
    """
    return _trusting(ca_file) if url is None or url.startswith("https:") else _trusting_nobody()


@cache
def _trusting(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot take certificates to trust from {ca_file}: {_reason(error)}",
            code="MS-613",
            file=ca_file,
            hint="It is a PEM file of certificates, named by --ca-file or MINISPARK_CA_FILE.",
        ) from error
    # A certificate that is in the file is trusted also where it is no authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@cache
def _trusting_nobody() -> ssl.SSLContext:
    """For clear text: reading the authorities of the system takes 10 ms and more."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def trust_problem(error: BaseException | None) -> str | None:
    """Say in some words why a peer was not trusted; None where that was not the trouble."""
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({cause.verify_message})"
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return "it does not speak TLS"
    return None


_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
