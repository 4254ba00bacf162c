"""docker-compose.yml brought up as a user would, and questions to its containers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from tests.compose.engine import Engine, compose_binary
from tools import ROOT
from tools.serve.ports import free_port, free_triton_ports

PROJECT = "birds-test"


class Service:
    """The compose project, with `settings` as its environment, published on free ports."""

    def __init__(self, engine: Engine, settings: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{(port := free_port())}/"
        self.triton_ports = free_triton_ports()
        published = {
            "BIRDS_PORT": str(port),
            "BIRDS_TRITON_HTTP_PORT": str(self.triton_ports.http),
            "BIRDS_TRITON_GRPC_PORT": str(self.triton_ports.grpc),
            "BIRDS_TRITON_METRICS_PORT": str(self.triton_ports.metrics),
        }
        self.engine = Engine({**engine.environment, **published, **settings}, engine.own)
        file = ["-f", str(ROOT / "docker-compose.yml")]
        self._command = [str(compose_binary()), "-p", PROJECT, "--project-directory", str(ROOT), *file]

    def compose(self, *arguments: str, timeout_seconds: float = 600, check: bool = True) -> str:
        command = [*self._command, *arguments]
        return self.engine.run(*command, timeout_seconds=timeout_seconds, check=check)

    def containers(self, service: str, everything: bool = False) -> list[str]:
        """The ids of a service's containers: those that run, or all."""
        return self.compose("ps", "-q", *(["-a"] if everything else []), service).split()

    def container(self, service: str) -> str:
        (only,) = self.containers(service)
        return only

    def inspect(self, container: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", container))
        return found[0]

    def execute(self, container: str, *command: str, check: bool = True) -> str:
        return self.engine.docker("exec", container, *command, check=check)

    def succeeds(self, container: str, *command: str) -> bool:
        try:
            self.execute(container, *command)
        except RuntimeError:
            return False
        return True

    def address(self, container: str, network: str) -> str:
        networks: dict[str, dict[str, str]] = self.inspect(container)["NetworkSettings"]["Networks"]
        return networks[f"{PROJECT}_{network}"]["IPAddress"]

    def processes(self, container: str) -> dict[int, str]:
        """Command lines by process id, as this machine numbers them."""
        rows = self.engine.docker("top", container, "-eo", "pid,args").splitlines()[1:]
        return {int(row.split(None, 1)[0]): row.split(None, 1)[1] for row in rows}

    def gateway(self, network: str) -> str:
        """This machine's address in one of the project's networks."""
        (found,) = json.loads(self.engine.docker("network", "inspect", f"{PROJECT}_{network}"))
        gateway: str = found["IPAM"]["Config"][0]["Gateway"]
        return gateway

    def wait_until(self, state: str, container: str, timeout_seconds: float = 120) -> None:
        """Return once the container's health is `state`."""
        deadline = time.monotonic() + timeout_seconds
        while self.inspect(container)["State"]["Health"]["Status"] != state:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {state} within {timeout_seconds} s:\n{self.logs()}")
            time.sleep(0.2)

    def logs(self) -> str:
        return self.compose("logs", "--tail=60", "--no-color", check=False)[-12000:]

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=30")


def image_bytes(engine: Engine, image: str) -> int:
    return int(engine.docker("image", "inspect", "--format={{.Size}}", image))


def leftovers(engine: Engine) -> str:
    """The containers, volumes and networks of the project that still exist."""
    label = f"label=com.docker.compose.project={PROJECT}"
    kinds = (("ps", "-aq"), ("volume", "ls", "-q"), ("network", "ls", "-q"))
    return "".join(engine.docker(*kind, "--filter", label) for kind in kinds)
