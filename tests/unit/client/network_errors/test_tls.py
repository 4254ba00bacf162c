"""TLS that fails: whose certificate is wrong, and what to do about it."""

from __future__ import annotations

import re
import ssl
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from birds_client import AsyncBirdsClient, TlsFailed
from birds_client.network_errors import Progress, explain

from tests.support.client_failures import failure_of
from tests.support.raw_server import closing, raw_server, replying

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ssl.SSLContext]:
    """Makes the TLS context of a server with a new certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    key, request = folder / "key.pem", folder / "request.pem"

    def run(command: str) -> None:
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)

    run(f"req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=birds -keyout {key} -out {request}")

    def context(subject: str, days: int = 2) -> ssl.SSLContext:
        name = f"{subject.replace(':', '-')}-{days}"
        extension, certificate = folder / f"{name}.cnf", folder / f"{name}.pem"
        extension.write_text(f"subjectAltName={subject}\nbasicConstraints=CA:TRUE\n")
        run(f"x509 -req -in {request} -signkey {key} -days {days} -extfile {extension} -out {certificate}")
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        made.load_cert_chain(certificate, key)
        context.latest = certificate  # type: ignore[attr-defined]
        return made

    return context


@pytest.mark.parametrize(
    ("subject", "days", "is_trusted", "text"),
    [
        ("IP:127.0.0.1", 2, False, "does not trust its TLS certificate .* in SSL_CERT_FILE"),
        ("IP:127.0.0.1", -1, True, "has expired"),
        ("DNS:birds.example", 2, True, "is for another host than 127.0.0.1"),
    ],
    ids=["not trusted", "expired", "other host"],
)
async def test_certificate_problem_says_what_to_do(
    certificates: Any, monkeypatch: pytest.MonkeyPatch, subject: str, days: int, is_trusted: bool, text: str
) -> None:
    context = certificates(subject, days)
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates.latest))
    async with raw_server(replying(ANSWER), tls_context=context) as (url, _):
        failure = await failure_of(url)
    assert isinstance(failure, TlsFailed)
    assert re.search(text, str(failure))


async def test_named_authority_is_trusted(certificates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the text for a certificate that is not trusted says to do."""
    context = certificates("IP:127.0.0.1")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.latest))
    body = b'{"default": "1", "versions": []}'
    async with (
        raw_server(
            replying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)), tls_context=context
        ) as (url, _),
        AsyncBirdsClient(url.removesuffix("/bird.jpg")) as birds,
    ):
        assert (await birds.models()).default == "1"


async def test_http_to_a_tls_port_names_https(certificates: Any) -> None:
    async with raw_server(replying(ANSWER), tls_context=certificates("IP:127.0.0.1")) as (url, _):
        failure = await failure_of(url.replace("https:", "http:"))
    assert "try https://" in str(failure)


async def test_https_to_a_server_that_hangs_up_names_http() -> None:
    async with raw_server(closing) as (url, _):
        failure = await failure_of(url.replace("http:", "https:"))
    assert isinstance(failure, TlsFailed)
    assert "try http://" in str(failure)


def test_service_that_asks_for_a_client_certificate() -> None:
    """In TLS 1.3 the refusal comes after the handshake, as an error of the ssl module."""
    error = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required (_ssl.c:2580)")
    error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    failure = explain(error, Progress(httpx.URL("https://birds.example")))
    assert isinstance(failure, TlsFailed)
    assert "asks for a TLS certificate of the client" in str(failure)


def test_timeout_under_tls_is_no_tls_problem() -> None:
    """Each wait for bytes of a TLS connection begins with an exception of the ssl module."""
    error = httpx.ReadTimeout("")
    error.__context__ = ssl.SSLWantReadError()
    progress = Progress(httpx.URL("https://birds.example"))
    progress.step = "receive_response_headers"
    assert "did not answer in time" in str(explain(error, progress))
