"""The HTTP client: its address, headers, timeouts and proxies, checked before the first request."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterator

import httpx

from birds_client.errors import ConfigurationError
from birds_client.version import __version__

_TIMEOUT = httpx.Timeout(10, read=120, write=120)  # above the service's own deadline for a request, 60 s


def open_http(base_url: str, api_key: str | None, language: str | None) -> httpx.AsyncClient:
    """Return a client of the service at `base_url`. Raises ConfigurationError; its text never holds the key."""
    headers = {"Accept": "application/x-ndjson", "User-Agent": f"birds-client/{__version__}"}
    if api_key and (key := api_key.strip()):  # a key from a file may end with a line end
        if not (key.isascii() and key.isprintable()):
            raise ConfigurationError("the API key must consist of printable ASCII characters")
        headers["Authorization"] = f"Bearer {key}"
    if language:
        headers["Accept-Language"] = language
    host = _checked_host(base_url)
    try:
        # A transport of its own makes httpx ignore proxy variables: no proxy reaches this machine's own loopback.
        transport = httpx.AsyncHTTPTransport() if _is_loopback(host) else None
        return httpx.AsyncClient(base_url=base_url.strip(), headers=headers, timeout=_TIMEOUT, transport=transport)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificates in SSL_CERT_FILE or SSL_CERT_DIR: {error}") from error
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"the proxy variables (HTTPS_PROXY, ALL_PROXY, NO_PROXY, …): {error}") from error


def tls_problem(error: BaseException) -> str | None:
    """Why TLS failed, if that is the cause of `error`; otherwise None."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not valid: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
            return "it does not use TLS there: try http:// instead of https://"
    return None


def _checked_host(base_url: str) -> str:
    try:
        url = httpx.URL(base_url.strip())
        if url.scheme in ("http", "https") and url.host and (url.port is None or 0 < url.port < 65536):
            return url.host
    except (httpx.InvalidURL, ValueError):
        pass
    raise ConfigurationError(f"{base_url!r} is not a URL such as http://127.0.0.1:8000")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
