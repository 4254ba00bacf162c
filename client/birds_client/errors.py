"""The exceptions that the client raises.

ClientError
├── ConfigurationError      the URL, the API key or this machine's network settings cannot work
├── Unreachable             there was no complete answer, after several attempts
│   ├── ConnectionRefused   nothing listens at the address
│   ├── TlsFailed           there is no TLS connection, most often because of the certificate
│   ├── ProxyFailed         the proxy cannot be reached, or does not connect to the service
│   └── OtherService        another program answers
├── Unauthorized            the service asks for an API key, or does not accept the one given
└── Refused                 the service does not accept the request; `errors` says why
"""

from __future__ import annotations


class ClientError(Exception):
    """The service did not do the work. `request_id` is the id of the request in the service's log, if it answered."""

    request_id: str | None = None


class ConfigurationError(ClientError):
    """No attempt can succeed until a setting is changed; the text names it."""


class Unreachable(ClientError):
    """There was no complete answer. The text says why, and what to do if that is known."""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} (request {self.request_id})" if self.request_id else text


class ConnectionRefused(Unreachable):
    """Nothing listens at the address: the service does not run, or runs at another address."""


class TlsFailed(Unreachable):
    """There is no TLS connection: a certificate that is not trusted, or one side that does not use TLS."""


class ProxyFailed(Unreachable):
    """The proxy that HTTP_PROXY, HTTPS_PROXY or ALL_PROXY names cannot be reached, or refuses."""


class OtherService(Unreachable):
    """Something answers there, but not this service."""


class Unauthorized(ClientError):
    """The service asks for an API key, or does not accept this one. The text is the service's own."""


class Refused(ClientError):
    """The service does not accept the request. `status` is the HTTP status; `errors` are the service's own messages."""

    def __init__(self, status: int, errors: list[str]) -> None:
        super().__init__("; ".join(errors) or f"HTTP status {status}")
        self.status = status
        self.errors = errors
