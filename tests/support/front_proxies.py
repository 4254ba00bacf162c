"""nginx and Caddy with the configurations of deploy/proxy/, in front of a frontend on this machine."""

from __future__ import annotations

import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx

from tests.support.processes import eventually
from tests.support.programs import path_of
from tools import ROOT
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port

NGINX = ROOT / "deploy" / "proxy" / "nginx.conf"
CADDYFILE = ROOT / "deploy" / "proxy" / "Caddyfile"
_NGINX_MAIN = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
worker_processes 1;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


@contextmanager
def running_nginx(servers: str, folder: Path, port: int) -> Iterator[None]:
    """An nginx with these `server` blocks, one of which listens on `port` of the loopback interface."""
    configuration = folder / "nginx.conf"
    configuration.write_text(_NGINX_MAIN.format(folder=folder, servers=servers))
    log = folder / "output.log"
    user = ["-g", "user root;"] if os.getuid() == 0 else []  # so that its worker may write into the folder
    with _running([path_of("nginx"), "-p", str(folder), "-c", str(configuration), *user], folder, log, port):
        yield


@contextmanager
def nginx_of_deploy(frontend_port: int, folder: Path) -> Iterator[str]:
    """deploy/proxy/nginx.conf as it is, except for ports and certificate. Yields the URL of its /birds/."""
    port, (certificate, key) = free_port(), _certificate(folder)
    servers = _replaced(
        NGINX.read_text(),
        {
            "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
            "127.0.0.1:8000": f"127.0.0.1:{frontend_port}",
            "/etc/ssl/certs/birds.pem": str(certificate),
            "/etc/ssl/private/birds.key": str(key),
        },
    )
    with running_nginx(servers, folder, port):
        yield f"https://127.0.0.1:{port}/birds/"


@contextmanager
def caddy_of_deploy(frontend_port: int, folder: Path) -> Iterator[str]:
    """deploy/proxy/Caddyfile as it is, except for ports and certificate. Yields the URL of its /birds/."""
    port, (certificate, key) = free_port(), _certificate(folder)
    site = _replaced(
        CADDYFILE.read_text(),
        {
            "birds.example.org {": f"https://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate} {key}",
            "127.0.0.1:8000": f"127.0.0.1:{frontend_port}",
        },
    )
    configuration = folder / "Caddyfile"
    # No HTTP/3: `free_port` holds the UDP port of the same number.
    options = "{\n\tadmin off\n\tauto_https off\n\tskip_install_trust\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\n"
    configuration.write_text(options + site)
    command = [path_of("caddy"), "run", "--adapter", "caddyfile", "--config", str(configuration)]
    with _running(command, folder, folder / "output.log", port):
        yield f"https://127.0.0.1:{port}/birds/"


FrontProxy = Callable[[int, Path], AbstractContextManager[str]]
FRONT_PROXIES: dict[str, FrontProxy] = {"nginx": nginx_of_deploy, "caddy": caddy_of_deploy}


def client_context(folder: Path) -> ssl.SSLContext:
    """Trusts the certificate that the proxies in this folder use."""
    return ssl.create_default_context(cafile=str(folder / "birds.pem"))


@contextmanager
def _running(command: list[str], folder: Path, log: Path, port: int) -> Iterator[None]:
    environment = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    with log.open("wb") as output:
        process = ChildProcess(command, environment, output)
    try:
        assert eventually(lambda: process.poll() is not None or _accepts(port)), log.read_text()
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.stop(5)


def _accepts(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/")
    except httpx.ConnectError:
        return False
    except httpx.TransportError:  # it speaks TLS
        return True
    return True


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert text.count(old) == 1, f"{old!r} is in the file {text.count(old)} times"
        text = text.replace(old, new)
    return text


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, made for this test."""
    certificate, key = folder / "birds.pem", folder / "birds.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=birds", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    return certificate, key
