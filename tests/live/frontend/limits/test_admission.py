"""Overload: refused requests are answered at once, and a request that ends returns its slots and tickets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI

from frontend.app import create_app
from frontend.classify.classifier import ImageClassifier
from frontend.settings import Settings
from tests.support.answers import NDJSON, NOTHING
from tests.support.frontend_server import running_app, running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREEN, RED, flat
from tests.support.network import LOOPBACK
from tests.support.processes import eventually
from tools.serve.ports import free_port
from tools.serve.triton_process import TritonServer

TOO_BUSY = NOTHING | {"time_taken": 0, "errors": ["The service is too busy. Try again later"]}
FORM_BEGUN = (
    b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
    b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
)


class Door:
    """Images whose downloads hang until the door is opened."""

    def __init__(self, image_server: ImageServer) -> None:
        self._server, self._passes = image_server, asyncio.Semaphore(0)
        self.arrived: list[str] = []

    def image(self, path: str) -> str:
        return self._server.add(path, self._held)

    async def _held(self, request: web.Request) -> web.StreamResponse:
        self.arrived.append(request.path)
        await self._passes.acquire()
        return web.Response(body=flat(RED))

    def let_through(self, count: int) -> None:
        for _ in range(count):
            self._server.loop.call_soon_threadsafe(self._passes.release)

    def open(self) -> None:
        self.let_through(1000)


@pytest.fixture
def door(image_server: ImageServer) -> Door:
    return Door(image_server)


def settings_for(triton: TritonServer, **options: Any) -> Settings:
    return Settings(triton_url=triton.grpc_url, download_allow_networks=LOOPBACK, **options)


def test_excess_requests_get_503_and_accepted_ones_finish(
    triton: TritonServer, door: Door, image_server: ImageServer
) -> None:
    lists = [[door.image(f"/{n}/{m}.png") for m in range(10)] for n in range(4)]
    more = [image_server.add(f"/more{m}.png", flat(GREEN)) for m in range(10)]
    app = create_app(settings_for(triton, max_backlog=0))
    with running_app(app) as url, httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor() as pool:
        answers = [pool.submit(httpx.post, url, json={"images": urls}, timeout=60) for urls in lists]
        assert eventually(lambda: unfinished(app) == 40)
        for headers in ({}, NDJSON):
            refused = client.post("/", json={"images": more}, headers=headers)
            assert refused.status_code == 503
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert refused.json() == TOO_BUSY
        for path in ("/", "/health/live", "/health/ready", "/metrics", "/models", "/docs", "/static/page.css"):
            assert client.get(path).status_code == 200
        assert image_server.requests["/more0.png"] == 0
        door.open()
        assert [len(answer.result().json()["successful_results"]) for answer in answers] == [10] * 4
        assert len(client.post("/", json={"images": more}).json()["successful_results"]) == 10


@contextmanager
def begun_uploads(url: str, count: int) -> Iterator[list[socket.socket]]:
    host, _, port = url.removeprefix("http://").partition(":")
    with ExitStack() as stack:
        uploads = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(count)]
        for upload in uploads:
            upload.sendall(FORM_BEGUN)
        yield uploads


def test_uploads_have_their_own_backlog(triton: TritonServer, image_server: ImageServer) -> None:
    photo, at_url = ("files", ("a.png", flat(GREEN))), image_server.add("/green.png", flat(GREEN))
    app = create_app(settings_for(triton, max_backlog=0))
    with running_app(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        with begun_uploads(url, 4):
            assert eventually(lambda: unfinished(app) == 4)
            for headers in ({}, NDJSON):
                refused = client.post("/files", files=[photo], headers=headers)
                assert refused.status_code == 503
                assert refused.headers["Retry-After"]
                assert refused.json() == TOO_BUSY
            assert client.post("/", json={"images": [at_url]}).json()["successful_results"]
        assert eventually(lambda: unfinished(app) == 0)
        assert client.post("/files", files=[photo]).json()["successful_results"]


def unfinished(app: FastAPI) -> int:
    return int(app.state.services.url_admission.unfinished + app.state.services.upload_admission.unfinished)


def free_slots(app: FastAPI) -> int:
    classifiers: list[ImageClassifier] = [app.state.services.url_classifier, app.state.services.upload_classifier]
    return sum(classifier.slots.free for classifier in classifiers)


def leave_while_waiting(url: str, images: list[str], lines: bool) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json={"images": images}, headers=NDJSON if lines else {}, timeout=httpx.Timeout(60, read=0.5))


def read_one_line(url: str, images: list[str], good: str) -> None:
    with httpx.stream("POST", url, json={"images": [good, *images]}, headers=NDJSON, timeout=30) as response:
        assert json.loads(next(response.iter_lines()))["url"] == good


def let_the_deadline_pass(url: str, images: list[str], lines: bool) -> None:
    response = httpx.post(url, json={"images": images}, headers=NDJSON if lines else {}, timeout=30)
    assert "deadline_exceeded" in response.text


def leave_an_upload(url: str) -> None:
    with begun_uploads(url, 1) as (upload,):
        upload.sendall(b'Content-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc')
        time.sleep(0.2)


def test_slots_and_tickets_return_however_a_request_ends(
    triton: TritonServer, door: Door, image_server: ImageServer
) -> None:
    held = [door.image(f"/{n}.png") for n in range(100)]
    good = image_server.add("/good.png", flat(GREEN))
    app = create_app(settings_for(triton, request_timeout=2))
    with running_app(app) as url:
        both = {"unfinished": 0, "free": 128}
        ways: dict[str, Callable[[], object]] = {
            "the client of an object goes away": lambda: leave_while_waiting(url, held, lines=False),
            "the client of lines goes away before the first": lambda: leave_while_waiting(url, held, lines=True),
            "the client of lines goes away after the first": lambda: read_one_line(url, held, good),
            "the deadline passes": lambda: let_the_deadline_pass(url, held, lines=False),
            "the deadline passes in a stream": lambda: let_the_deadline_pass(url, held, lines=True),
            "the client goes away during an upload": lambda: leave_an_upload(url),
            "the upload is not a form": lambda: httpx.post(f"{url}/files", content=b"x", timeout=30),
            "the upload takes too long": lambda: late_upload(url),
            "the request has mistakes": lambda: httpx.post(url, json={"images": held, "k": 99}, timeout=30),
            "everything succeeds": lambda: httpx.post(url, json={"images": [good]}, timeout=30),
        }
        for way, end in ways.items():
            end()
            now: dict[str, int] = {}

            def everything_is_returned(now: dict[str, int] = now) -> bool:
                now.update(unfinished=unfinished(app), free=free_slots(app))
                return now == both

            assert eventually(everything_is_returned), f"{way}: {now}"


def late_upload(url: str) -> None:
    with begun_uploads(url, 1) as (upload,):
        upload.settimeout(60)
        assert upload.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_slots_and_tickets_return_when_triton_is_lost(image_server: ImageServer, door: Door) -> None:
    urls = [image_server.add(f"/{n}.png", flat(RED)) for n in range(50)]
    app = create_app(Settings(triton_url=f"127.0.0.1:{free_port()}", download_allow_networks=LOOPBACK))
    with running_app(app) as url:
        for headers in ({}, NDJSON):
            assert httpx.post(url, json={"images": urls}, headers=headers, timeout=30).status_code == 503
        assert eventually(lambda: (unfinished(app), free_slots(app)) == (0, 128))


def test_short_request_overtakes_ten_long_lists(triton: TritonServer, image_server: ImageServer) -> None:
    """Lists whose images hang hold all slots but the reserve. The short request waits for a few images, not for 600."""
    short = [image_server.add(f"/short{m}.png", flat(GREEN)) for m in range(3)]
    app = create_app(settings_for(triton, max_backlog=10_000, download_timeout=60))
    with ExitStack() as stack:
        # One server for each list, because connections to one host are few.
        doors = [Door(stack.enter_context(ImageServer())) for _ in range(10)]
        lists = [[door.image(f"/{m}.png") for m in range(60)] for door in doors]
        url = stack.enter_context(running_app(app))
        pool = stack.enter_context(ThreadPoolExecutor(11))
        for door in doors:
            stack.callback(door.open)  # so that no image hangs forever if the test fails
        answers = [pool.submit(httpx.post, url, json={"images": urls}, timeout=60) for urls in lists]
        assert eventually(
            lambda: unfinished(app) == 600 and free_slots(app) == 64 + 16
        )  # those of uploads, and the reserve
        small = pool.submit(httpx.post, url, json={"images": short}, timeout=60)
        assert eventually(lambda: unfinished(app) == 603)
        let_through = 0
        most = max(doors, key=lambda door: len(door.arrived))

        def begun() -> int:
            return image_server.requests.total() + sum(len(door.arrived) for door in doors)

        while image_server.requests.total() < 3:
            before = begun()
            most.let_through(1)
            let_through += 1
            assert eventually(lambda: begun() > before)  # noqa: B023 - one image takes the free slot
        assert len(small.result().json()["successful_results"]) == 3
        print(f"the short request began after {let_through} images of the lists")
        assert let_through <= 12
        for door in doors:
            door.open()
        assert [len(answer.result().json()["successful_results"]) for answer in answers] == [60] * 10


def slowly(url: str, head: bytes) -> bytes:
    """Send `head` and then single bytes, slowly, until there is an answer."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head)
        client.settimeout(0.1)
        for _ in range(600):
            try:
                return client.recv(65536)
            except TimeoutError:
                client.sendall(b" ")
    raise AssertionError("no answer")


def test_trickling_body_gets_408(triton: TritonServer) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{"
    with running_frontend(settings_for(triton, request_timeout=1)) as url:
        answer = slowly(url, head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["errors"] == ["The body took too long to arrive"]


def test_many_threads_of_requests_leave_nothing_behind(triton: TritonServer, image_server: ImageServer) -> None:
    """Many more requests than are accepted at once: all are answered, most with 503, and every slot is returned."""
    urls = [image_server.add(f"/{n}.png", flat(GREEN)) for n in range(5)]
    app = create_app(settings_for(triton, max_backlog=5))
    statuses: list[int] = []
    lock = threading.Lock()

    def ask(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            for _ in range(10):
                response = client.post("/", json={"images": urls})
                with lock:
                    statuses.append(response.status_code)
                assert response.status_code == 503 or len(response.json()["successful_results"]) == 5

    with running_app(app) as url:
        with ThreadPoolExecutor(30) as pool:
            list(pool.map(ask, [url] * 30))
        assert len(statuses) == 300
        assert set(statuses) == {200, 503}
        assert eventually(lambda: (unfinished(app), free_slots(app)) == (0, 128))
        assert httpx.post(url, json={"images": urls}, timeout=30).status_code == 200
