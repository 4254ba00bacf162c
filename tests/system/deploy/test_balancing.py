"""HAProxy, two frontends, two Tritons: the load is shared, and one that dies under load costs no request."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.checked_load import CheckedLoad
from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, RED, flat
from tests.support.model_repository import copy_templates, install_classifier
from tests.support.name_server import NameServer
from tests.support.processes import command_line, descendants, eventually
from tests.support.proxy import Proxy, running_proxy
from tests.support.tiny_model import LABELS
from tools.measure.soak.answers import Case
from tools.serve.child_process import ChildProcess
from tools.serve.ports import free_port, free_triton_ports
from tools.serve.triton_process import TritonServer
from tools.triton.statistics import read_statistics

HOSTS = ("127.0.0.1", "127.0.0.2")
DEADLINE_SECONDS = 20
STUB = "preprocess"
MODEL = "birds_v1"  # its requests include those that the cache answers

pytestmark = pytest.mark.needs("haproxy")


@dataclass
class Service:
    """The processes, any of which a test may kill and start again."""

    proxy: Proxy
    tritons: list[TritonServer]
    frontends: dict[str, ChildProcess] = field(default_factory=dict)
    port: int = 0
    logs: Path = Path()

    def start_frontend(self, host: str) -> None:
        """Start one, in the place of one that has ended."""
        if host in self.frontends:
            self.frontends[host].stop(0)
        environment = {
            **os.environ,
            "BIRDS_HOST": host,
            "BIRDS_PORT": str(self.port),
            "BIRDS_TRITON_URL": ",".join(triton.grpc_url for triton in self.tritons),
            "BIRDS_DOWNLOAD_ALLOW_NETWORKS": "127.0.0.0/8",
            "BIRDS_REQUEST_TIMEOUT": str(DEADLINE_SECONDS),
            "BIRDS_ANSWER_CACHE_BYTES": "0",  # the few images must reach Triton each time
        }
        with (self.logs / f"frontend-{host}.log").open("ab") as log:
            self.frontends[host] = ChildProcess([sys.executable, "-m", "frontend"], environment, log)

    def stop_frontends(self) -> None:
        for frontend in self.frontends.values():
            frontend.stop(5)

    def images_by_triton(self) -> list[int]:
        return [read_statistics(triton.grpc_url)[MODEL].requests for triton in self.tritons]

    def requests_by_frontend(self) -> Counter[str]:
        return Counter(line["frontend"] for line in self.proxy.requests() if line["method"] == "POST")


@pytest.fixture(scope="module")
def service(tiny_savedmodel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    logs, repository = tmp_path_factory.mktemp("balancing"), tmp_path_factory.mktemp("balanced") / "models"
    copy_templates(repository)
    install_classifier(repository, tiny_savedmodel, LABELS)
    with ExitStack() as stack:
        tritons = [TritonServer(free_triton_ports(), logs / f"triton-{n}.log", repository) for n in range(2)]
        for triton in tritons:
            stack.callback(triton.close)
            triton.start()
        for triton in tritons:
            triton.wait_until_ready()
        port = free_port()
        names = stack.enter_context(NameServer(*HOSTS))
        proxy = stack.enter_context(running_proxy(names, port, logs / "proxy.log"))
        service = Service(proxy, tritons, port=port, logs=logs)
        stack.callback(service.stop_frontends)
        for host in HOSTS:
            service.start_frontend(host)
        proxy.wait_for_servers(2)
        yield service


@pytest.fixture
def cases(image_server: ImageServer) -> list[Case]:
    """Good images of three species, and two that are bad."""
    colours = {RED: LABELS[0], GREEN: LABELS[1], BLUE: LABELS[2]}
    good = [
        Case(image_server.add(f"/{label[0]}-{size}.png", flat(colour, size=(size, 30))), bird=label.partition(" (")[0])
        for colour, label in colours.items()
        for size in range(40, 50)
    ]
    text = image_server.add("/text.jpg", b"no image at all")
    return [*good, Case(text, code="not_an_image"), Case(image_server.url("/missing"), code="download_failed")]


def load_on(service: Service, cases: list[Case]) -> CheckedLoad:
    return CheckedLoad(f"{service.proxy.url}/", cases, clients=6, deadline_seconds=DEADLINE_SECONDS)


def assert_all_complete(load: CheckedLoad) -> None:
    others = Counter(f"{answer.verdict}: {answer.detail}" for answer in load.answers if answer.verdict != "complete")
    assert not others


def evenness(counts: list[int]) -> float:
    """The smaller part of the larger."""
    return min(counts) / max(counts)


def test_the_load_is_shared_evenly_at_both_levels(service: Service, cases: list[Case]) -> None:
    time.sleep(6)  # a frontend that is new gets less for five seconds
    images, requests = service.images_by_triton(), service.requests_by_frontend()
    with load_on(service, cases) as load:
        assert eventually(lambda: len(load.answers) >= 200)
    assert_all_complete(load)
    by_triton = [after - before for before, after in zip(images, service.images_by_triton(), strict=True)]
    by_frontend = service.requests_by_frontend() - requests
    assert len(by_frontend) == 2
    assert evenness(by_triton) > 0.9, by_triton
    assert evenness(list(by_frontend.values())) > 0.5, by_frontend


def test_a_triton_killed_under_load_costs_no_request(service: Service, cases: list[Case]) -> None:
    victim = service.tritons[0]
    with load_on(service, cases) as load:
        assert eventually(lambda: len(load.answers) >= 20)
        os.kill(victim.pid, signal.SIGKILL)
        killed = time.monotonic()
        load.wait_for_complete(50, since=killed, timeout_seconds=60)
        victim.stop(5)
        victim.start()
        victim.wait_until_ready()
        ready = time.monotonic()
        assert eventually(lambda: service.images_by_triton()[0] >= 20), "it gets its share again"
        shared = time.monotonic() - ready
    assert_all_complete(load)
    print(f"a Triton: 0 of {len(load.answers)} requests, shares the load {shared:.1f} s after it is ready")


def test_a_frontend_killed_under_load_costs_no_request(service: Service, cases: list[Case]) -> None:
    host = HOSTS[1]
    with load_on(service, cases) as load:
        assert eventually(lambda: len(load.answers) >= 20)
        os.kill(service.frontends[host].pid, signal.SIGKILL)
        killed = time.monotonic()
        service.proxy.wait_for_servers(1)
        noticed = time.monotonic() - killed
        load.wait_for_complete(50, since=killed, timeout_seconds=60)
        service.start_frontend(host)
        started = time.monotonic()
        service.proxy.wait_for_servers(2)
        back = time.monotonic() - started
        before = service.requests_by_frontend()
        assert eventually(lambda: min((service.requests_by_frontend() - before).values(), default=0) >= 20)
    assert_all_complete(load)
    print(
        f"a frontend: 0 of {len(load.answers)} requests, noticed in {noticed:.1f} s, back {back:.1f} s after its start"
    )


def test_a_triton_with_a_dead_python_process_is_left_alone(service: Service, cases: list[Case]) -> None:
    """It answers, and calls itself ready: only its failures tell."""
    victim = service.tritons[1]
    stub = next(pid for pid in descendants(victim.pid) if f"/{STUB}/" in command_line(pid))
    with load_on(service, cases) as load:
        assert eventually(lambda: len(load.answers) >= 20)
        os.kill(stub, signal.SIGKILL)
        killed = time.monotonic()
        load.wait_for_complete(100, since=killed + 3, timeout_seconds=60)
        victim.stop(5)
        victim.start()
        victim.wait_until_ready()
        assert eventually(lambda: service.images_by_triton()[1] >= 20), "it gets its share again"
    assert not load.faults()
    lost = Counter(answer.detail for answer in load.answers if answer.verdict != "complete")
    print(
        f"a stub: {dict(lost)} of {len(load.answers)} requests, whole again after {load.recovered_at() - killed:.1f} s"
    )


@pytest.mark.slow
def test_a_frozen_triton_delays_requests_and_costs_none(service: Service, cases: list[Case]) -> None:
    victim = service.tritons[0]
    with load_on(service, cases) as load:
        assert eventually(lambda: len(load.answers) >= 20)
        os.kill(victim.pid, signal.SIGSTOP)
        frozen = time.monotonic()
        try:
            load.wait_for_complete(200, since=frozen + 11, timeout_seconds=60)
        finally:
            time.sleep(max(frozen + 20 - time.monotonic(), 0))
            os.kill(victim.pid, signal.SIGCONT)
        before = service.images_by_triton()[0]
        assert eventually(lambda: service.images_by_triton()[0] >= before + 20), "it gets its share again"
    slowest = max(answer.seconds for answer in load.answers)
    print(f"frozen: {dict(load.verdicts())}, slowest {slowest:.1f} s")
    assert_all_complete(load)
