"""HAProxy with the configuration of deploy/, in front of the frontends that a name server names."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.name_server import NAME, NameServer
from tests.support.processes import eventually
from tests.support.programs import path_of
from tools import ROOT
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port

CONFIGURATION = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
RELOAD = CONFIGURATION.with_name("reload.sh")


@dataclass
class Proxy:
    """A running HAProxy."""

    process: ChildProcess
    url: str
    metrics_url: str
    log: Path
    environment: dict[str, str]

    def servers_up(self) -> int:
        """How many frontends are up and have passed a check. Before its first check a frontend counts as up."""
        up, passed = (
            {
                row.partition("state=")[0].partition("server=")[2]
                for row in self._rows(metric)
                if row.endswith(f'"{state}"}} 1')
            }
            for metric, state in (("haproxy_server_status", "UP"), ("haproxy_server_check_status", "L7OK"))
        )
        return len(up & passed)

    def _rows(self, metric: str) -> list[str]:
        return [line for line in httpx.get(self.metrics_url).text.splitlines() if line.startswith(f"{metric}{{")]

    def wait_for_servers(self, count: int, seconds: float = 20) -> None:
        assert eventually(lambda: self.servers_up() == count, seconds), self.log.read_text()

    def requests(self) -> list[dict[str, Any]]:
        """The lines of its log that describe requests."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def reload(self) -> None:
        """Start a process with the configuration as it is now; the old one finishes its requests."""
        subprocess.run([RELOAD, str(self.process.pid)], env=self.environment, check=True, timeout=30)


@contextmanager
def running_proxy(names: NameServer, port: int, log: Path, **environment: str) -> Iterator[Proxy]:
    """Yield an HAProxy in front of the frontends on `port` at the addresses of `names`. It drops root if it has it."""
    program = path_of("haproxy")
    listen, metrics, admin = (f"127.0.0.1:{free_port()}" for _ in range(3))
    settings = {
        **os.environ,
        "BIRDS_PROXY_LISTEN": listen,
        "BIRDS_PROXY_METRICS": metrics,
        "BIRDS_PROXY_ADMIN": admin,
        "BIRDS_PROXY_STATE": str(log.with_suffix(".servers")),
        "BIRDS_PROXY_FRONTENDS": f"{NAME}:{port}",
        "BIRDS_PROXY_DNS": names.address,
        "BIRDS_PROXY_SLOTS": "4",
        **({"BIRDS_PROXY_USER": "haproxy"} if os.getuid() == 0 else {}),
        **environment,
    }
    with log.open("wb") as output:
        process = ChildProcess([program, "-W", "-db", "-f", str(CONFIGURATION)], settings, output)
    proxy = Proxy(process, f"http://{listen}", f"http://{metrics}/metrics", log, settings)
    try:
        assert eventually(lambda: _answers(proxy.metrics_url)), log.read_text()
        yield proxy
    finally:
        process.stop(5)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.TransportError:
        return False
