"""Says in a sentence why a request got no answer, and what to do about it."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx

from birds_client.errors import ConnectionRefused, OtherService, ProxyFailed, TlsFailed, Unreachable

# OpenSSL's codes (X509_V_ERR_…) for certificates that are valid but not trusted on this machine.
_UNTRUSTED = {2, 18, 19, 20, 21}
_EXPIRED, _NOT_YET_VALID, _OTHER_HOST, _OTHER_ADDRESS = 10, 9, 62, 64
# What OpenSSL says when the answer to its greeting is not TLS.
_NOT_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"}
# Not failures of TLS: the first two only mean that bytes are awaited, the third is a closed connection.
_NOT_OF_TLS = (ssl.SSLWantReadError, ssl.SSLWantWriteError, ssl.SSLEOFError)
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH}


class Progress:
    """How far a request has come, and which machine it talks to: the service or a proxy. A `trace` of httpx."""

    def __init__(self, service: httpx.URL) -> None:
        self.service = service
        self._service_address = service.raw_host.decode(), service.port or {"http": 80, "https": 443}[service.scheme]
        self.host, self.port = self._service_address
        self.step = ""  # the last step of httpx that began, such as start_tls
        self._service_peer = self.peer

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        step, _, state = event.partition(".")[2].partition(".")
        if state == "started" and step != "response_closed":  # httpx reports that one after each failure too
            if step == "connect_tcp":
                self.host, self.port = info["host"], info["port"]
            elif step == "start_tls" and self.step != "connect_tcp":  # in the tunnel that a proxy has opened
                self.host, self.port = self._service_address
            self.step = step

    @property
    def peer(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_through_a_proxy(self) -> bool:
        return self.peer != self._service_peer

    @property
    def has_sent(self) -> bool:
        """Whether the service may have got the request."""
        return self.step not in ("", "connect_tcp", "start_tls")

    @property
    def has_an_answer(self) -> bool:
        return self.step == "receive_response_body"


def explain(error: Exception, progress: Progress) -> Unreachable:
    """Return the error for a caller. `error` is one of httpx or, for an alert of TLS 1.3, of ssl."""
    causes = list(_causes(error))
    if isinstance(error, httpx.ProxyError):
        return _proxy_refusal(str(error), progress)
    for cause in causes:
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, _NOT_OF_TLS):
            return TlsFailed(_tls_problem(cause, progress))
    if progress.step == "start_tls" and not isinstance(error, httpx.TimeoutException):
        return TlsFailed(f"{progress.peer} closed the connection instead of a TLS handshake: try http:// in the URL")
    if progress.is_through_a_proxy and progress.step == "connect_tcp":
        return ProxyFailed(f"the proxy {progress.peer} cannot be reached: check {_proxy_variables(progress)}")
    for cause in causes:
        if isinstance(cause, socket.gaierror):
            return Unreachable(_name_problem(cause, progress))
        if isinstance(cause, ConnectionRefusedError):
            return ConnectionRefused(f"nothing listens at {progress.peer}")
        if isinstance(cause, OSError) and cause.errno in _NO_ROUTE:
            return Unreachable(f"there is no route to {progress.peer}: check the network connection")
    return _broken_connection(error, progress)


def _broken_connection(error: Exception, progress: Progress) -> Unreachable:
    peer = progress.peer
    if isinstance(error, httpx.ConnectTimeout):
        return Unreachable(f"{peer} does not accept a connection: check the address, and firewalls on the way")
    if isinstance(error, httpx.TimeoutException):
        return Unreachable(f"{peer} accepts connections but did not answer in time")
    if progress.has_an_answer:
        return Unreachable("the answer broke off before its end")
    tls = "" if progress.service.scheme == "https" else "; if it uses TLS, try https:// in the URL"
    if isinstance(error, httpx.RemoteProtocolError) and "without sending" not in str(error):
        return OtherService(f"{peer} does not answer in HTTP/1.1: check the port{tls}")
    if isinstance(error, (httpx.NetworkError, httpx.RemoteProtocolError)):
        return Unreachable(f"{peer} closed the connection without an answer{tls}")
    return Unreachable(f"the request to {peer} failed: {error}".rstrip(": "))


def _proxy_refusal(status: str, progress: Progress) -> ProxyFailed:
    variables = _proxy_variables(progress)
    if status.startswith("407"):
        return ProxyFailed(f"the proxy {progress.peer} needs a name and a password: {proxy_password_hint(variables)}")
    return ProxyFailed(
        f"the proxy {progress.peer} does not connect to {progress.service.host} ({status.strip()}): check the host, or "
        f"name it in NO_PROXY to connect without the proxy"
    )


def proxy_password_hint(variables: str) -> str:
    """Where to write the name and the password for a proxy."""
    return f"set {variables} to http://NAME:PASSWORD@HOST:PORT"


def _proxy_variables(progress: Progress) -> str:
    return f"{progress.service.scheme.upper()}_PROXY or ALL_PROXY"


def _name_problem(error: socket.gaierror, progress: Progress) -> str:
    if error.errno == socket.EAI_AGAIN:
        return f"the host name {progress.host} cannot be looked up now: check the network connection"
    return f"there is no host named {progress.host}: check the URL"


def _tls_problem(error: ssl.SSLError, progress: Progress) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_problem(error, progress.service.host)
    reason = error.reason or ""
    if reason in _NOT_TLS:
        return f"{progress.peer} does not use TLS: try http:// instead of https://"
    if "CERTIFICATE_REQUIRED" in reason:
        return f"{progress.peer} asks for a TLS certificate of the client, which this client does not have"
    return f"TLS with {progress.peer} failed: {reason.replace('_', ' ').lower() or error}"


def _certificate_problem(error: ssl.SSLCertVerificationError, host: str) -> str:
    code = error.verify_code
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return f"its TLS certificate is for another host than {host}: use the host name in the certificate"
    if code == _EXPIRED:
        return "its TLS certificate has expired: the server needs a new one, or the clock of this machine is wrong"
    if code == _NOT_YET_VALID:
        return "its TLS certificate is not valid yet: the clock of this machine or of the server is wrong"
    if code in _UNTRUSTED:
        return (
            f"this machine does not trust its TLS certificate ({error.verify_message}): name a file with the "
            "certificate of the authority that issued it in SSL_CERT_FILE"
        )
    return f"its TLS certificate is not valid: {error.verify_message}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and all its causes. The several addresses of a host fail in an exception group."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        for member in getattr(cause, "exceptions", ()):
            yield from _causes(member)
        cause = cause.__cause__ or cause.__context__
