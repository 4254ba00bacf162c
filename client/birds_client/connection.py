"""The HTTP client: its address, headers, timeouts and proxies, checked before the first request."""

from __future__ import annotations

import ipaddress
import ssl

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
        if not (language.isascii() and language.isprintable()):
            raise ConfigurationError(f"the language {language!r} must be a code like de, or an Accept-Language header")
        headers["Accept-Language"] = language
    host = _parse_host(base_url)
    try:
        # A transport of its own makes httpx ignore proxy variables: no proxy reaches this machine's own loopback.
        transport = httpx.AsyncHTTPTransport() if is_loopback(host) else None
        return httpx.AsyncClient(base_url=base_url.strip(), headers=headers, timeout=_TIMEOUT, transport=transport)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(f"the certificates in SSL_CERT_FILE or SSL_CERT_DIR: {error}") from error
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"the proxy variables (HTTPS_PROXY, ALL_PROXY, NO_PROXY, …): {error}") from error


def _parse_host(base_url: str) -> str:
    try:
        url = httpx.URL(base_url.strip())
        url.raw_host.decode().encode("idna")  # labels of 1 to 63 characters: the look-up would fail on others
        if url.scheme in ("http", "https") and url.host and (url.port is None or 0 < url.port < 65536):
            return url.host
    except (httpx.InvalidURL, ValueError):
        pass
    raise ConfigurationError(f"{base_url!r} is not a URL such as http://127.0.0.1:8000")


def is_loopback(host: str) -> bool:
    """Whether this is the name or the address of this machine's loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
