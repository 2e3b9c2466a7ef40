"""TLS from paths of certificates, for servers and clients.

A client trusts the authorities of the system, or only the certificates in a file. The file may hold
the certificate of the server itself: a cluster needs no authority.

Covers: checking the files, contexts, reasons of failed connections. Does not cover: the source of
the paths (`minispark.config`, the command line).
"""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path
from typing import Any

from minispark.errors import UsageError

TRUST_HINT = (
    "Name the file of certificates to trust with MINISPARK_CA_FILE or --ca-file. The certificate "
    "must be issued for the host name or address in the URL."
)


def check_certificate(cert: Path | None, key: Path | None) -> None:
    """Check the certificate and the key of a server.

    Raises
    ------
    UsageError
        One of them is missing, cannot be read, or does not belong to the other.
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
        # Without the argument OpenSSL asks for a password on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"the certificate {cert} and the key {key} cannot be used: {_reason(error)}",
            code="MS-613",
            file=str(cert),
            hint="Both are PEM, the key is not encrypted, and it is the key of the certificate.",
        ) from error


def server_tls(cert: Path | None, key: Path | None) -> dict[str, Any]:
    """Return the options of uvicorn, none without a certificate."""
    return {} if cert is None else {"ssl_certfile": str(cert), "ssl_keyfile": str(key)}


def client_context(url: str | None, ca_file: str | None) -> ssl.SSLContext:
    """Return the context for connections to a URL (None: to any URL).

    Raises
    ------
    UsageError
        ``ca_file`` cannot be read or holds no certificate.
    """
    if url is None or url.startswith("https:"):
        return _trusting_context(ca_file)
    return _empty_context()


@cache
def _trusting_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"cannot take certificates to trust from {ca_file}: {_reason(error)}",
            code="MS-613",
            file=ca_file,
            hint="It is a PEM file of certificates, named by --ca-file or MINISPARK_CA_FILE.",
        ) from error
    # A certificate in the file is trusted even if it is not an authority.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


@cache
def _empty_context() -> ssl.SSLContext:
    """Return a context for clear text: reading the authorities takes more than 10 ms."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def trust_problem(error: BaseException | None) -> str | None:
    """Return the reason why a peer was not trusted, None if the error has another reason."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted ({error.verify_message})"
        if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
            return "it does not speak TLS"
        error = error.__cause__ or error.__context__
    return None


_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
