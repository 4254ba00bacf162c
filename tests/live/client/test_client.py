"""The Python client: every image gets one result, whatever happens on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from birds_client import (
    AsyncBirdsClient,
    BirdsClient,
    ClientError,
    Image,
    Photo,
    Refused,
    Result,
    Unauthorized,
    Unreachable,
    asynchronous,
)

from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, RED, flat
from tools.serve.ports import free_port

Service = Callable[[list[str]], web.StreamResponse]


@pytest.fixture
def birds(frontend: httpx.Client) -> Iterator[BirdsClient]:
    with BirdsClient(str(frontend.base_url)) as birds:
        yield birds


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "_FIRST_PAUSE_SECONDS", 0.01)


def species(results: list[Result]) -> dict[Image, str]:
    return {result.image: result.predictions[0].bird_name for result in results if result.failure is None}


def failures(results: list[Result]) -> dict[Image, str]:
    return {result.image: result.failure.code for result in results if result.failure}


def lines(urls: list[str], **totals: Any) -> bytes:
    images = [{"url": url, "predictions": []} for url in urls]
    return "".join(json.dumps(line) + "\n" for line in [*images, {"succeeded": len(urls), **totals}]).encode()


def service(image_server: ImageServer, *answers: Service) -> str:
    """A service that gives these answers one after the other."""
    remaining = iter(answers)

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        return next(remaining)(body["images"])

    return image_server.add("/", answer).rstrip("/")


def whole(urls: list[str]) -> web.StreamResponse:
    return web.Response(body=lines(urls))


def test_urls_files_and_bytes_in_one_call(birds: BirdsClient, image_server: ImageServer, tmp_path: Path) -> None:
    url = image_server.add("/red.png", flat(RED))
    path = tmp_path / "green.png"
    path.write_bytes(flat(GREEN))
    photo = Photo("blue", flat(BLUE))
    results = list(birds.classify([url, path, photo, url], k=2))
    assert species(results) == {url: "Rubra maxima", path: "Viridis minor", photo: "Caerulea"}
    assert [len(result.predictions) for result in results] == [2, 2, 2]
    assert results[0].predictions[0].score > results[0].predictions[1].score


def test_bad_images_fail_with_their_codes(birds: BirdsClient, tmp_path: Path) -> None:
    page, missing = tmp_path / "page.jpg", tmp_path / "missing.jpg"
    page.write_text("<html>")
    results = list(birds.classify([page, missing, "ftp://x/", tmp_path]))
    expected = {
        page: "not_an_image",
        missing: asynchronous.UNREADABLE,
        "ftp://x/": "invalid_url",
        tmp_path: asynchronous.UNREADABLE,
    }
    assert failures(results) == expected


def test_equal_names_in_different_folders_stay_apart(birds: BirdsClient, tmp_path: Path) -> None:
    paths = [tmp_path / folder / "bird.png" for folder in ("a", "b")]
    for path, colour in zip(paths, (RED, GREEN), strict=True):
        path.parent.mkdir()
        path.write_bytes(flat(colour))
    assert species(list(birds.classify(paths))) == {paths[0]: "Rubra maxima", paths[1]: "Viridis minor"}


def test_more_images_than_one_request_may_hold(birds: BirdsClient) -> None:
    photos = [Photo(str(n), flat((n % 256, n // 256, 0))) for n in range(1, 1101)]
    results = list(birds.classify(iter(photos), k=1))
    assert len(results) == len({result.image for result in results}) == 1100
    assert not failures(results)


def test_reads_an_endless_supply_no_faster_than_results_come(birds: BirdsClient) -> None:
    taken = 0

    def supply() -> Iterator[Photo]:
        nonlocal taken
        while True:
            taken += 1
            yield Photo(str(taken), flat(RED))

    results = birds.classify(supply())
    for _ in range(50):
        next(results)
    results.close()  # type: ignore[attr-defined]
    assert taken < 300


async def test_the_same_for_asynchronous_code(frontend: httpx.Client) -> None:
    async with AsyncBirdsClient(str(frontend.base_url)) as birds:
        results = [result async for result in birds.classify([Photo("red", flat(RED))])]
    assert list(species(results).values()) == ["Rubra maxima"]


def test_failures_are_told_in_the_language_asked_for(frontend: httpx.Client) -> None:
    with BirdsClient(str(frontend.base_url), language="de-AT, en;q=0.5") as birds:
        (result,) = birds.classify(["ftp://x/"])
    assert result.failure
    assert result.failure.code == "invalid_url"
    assert result.failure.message == "Das ist keine http- oder https-URL, von der heruntergeladen werden kann"


def test_a_version_can_be_named_and_is_told(birds: BirdsClient) -> None:
    models = birds.models()
    assert models.default in [version.version for version in models.versions]
    (result,) = birds.classify([Photo("red", flat(RED))], model_version=models.default)
    assert result.model_version == models.default
    with pytest.raises(Refused, match="There is no model version 99"):
        list(birds.classify([Photo("red", flat(RED))], model_version="99"))


def test_a_refusal_says_why(birds: BirdsClient) -> None:
    with pytest.raises(Refused, match="Max allowed value of K is 10") as refused:
        list(birds.classify([Photo("red", flat(RED))], k=11))
    assert refused.value.errors == ["Max allowed value of K is 10"]


def test_nobody_there_is_told_at_once() -> None:
    with BirdsClient(f"http://127.0.0.1:{free_port()}") as birds, pytest.raises(Unreachable):
        list(birds.classify(["http://example.org/a.jpg"]))


def test_another_service_there_is_told(image_server: ImageServer) -> None:
    url = service(image_server, lambda _: web.Response(text="<html>welcome</html>"))
    with BirdsClient(url) as birds, pytest.raises(Unreachable, match="does not answer as this service does"):
        list(birds.classify(["a"]))


@pytest.mark.parametrize(
    "trouble",
    [
        lambda _: web.json_response({"errors": ["busy"]}, status=503, headers={"Retry-After": "0"}),
        lambda _: web.json_response({"errors": ["slow down"]}, status=429),
        lambda urls: web.Response(body=lines(urls[:1]).splitlines(True)[0]),
        lambda urls: web.Response(body=lines(urls[:1], status=503, errors=["Triton is gone"])),
        lambda urls: web.Response(
            body=json.dumps({"url": urls[0], "failure": {"code": "overloaded", "message": "busy"}}) + "\n"
        ),
    ],
    ids=["503", "429", "cut off", "lost on the way", "one image overloaded"],
)
def test_what_passes_is_tried_again_and_nothing_is_told_twice(image_server: ImageServer, trouble: Service) -> None:
    with BirdsClient(service(image_server, trouble, whole)) as birds:
        results = list(birds.classify(["a", "b", "c"]))
    assert sorted(str(result.image) for result in results) == ["a", "b", "c"]
    assert not failures(results)


def test_what_does_not_pass_ends_the_run(image_server: ImageServer) -> None:
    def busy(_: list[str]) -> web.StreamResponse:
        return web.json_response({"errors": ["busy"]}, status=503)

    with (
        BirdsClient(service(image_server, *[busy] * asynchronous._TRIES)) as birds,
        pytest.raises(Unreachable, match="busy"),
    ):
        list(birds.classify(["a"]))


def test_an_api_key_is_sent_and_asked_for(image_server: ImageServer) -> None:
    async def guarded(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer secret":
            return web.json_response({"errors": ["An API key is needed"]}, status=401)
        return whole((await request.json())["images"])

    url = image_server.add("/", guarded).rstrip("/")
    with BirdsClient(url) as birds, pytest.raises(Unauthorized, match="An API key is needed"):
        list(birds.classify(["a"]))
    with BirdsClient(url, api_key="secret") as birds:
        assert len(list(birds.classify(["a"]))) == 1


@pytest.mark.parametrize(("status", "kind", "text"), [(422, Refused, "No"), (503, Unreachable, "No (request r-1)")])
def test_an_error_names_the_request_as_the_services_log_does(
    image_server: ImageServer, status: int, kind: type[ClientError], text: str
) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"errors": ["No"]}, status=status, headers={"X-Request-ID": "r-1"})

    with BirdsClient(image_server.add("/", refuse).rstrip("/")) as birds, pytest.raises(kind) as raised:
        list(birds.classify(["http://x/"]))
    assert raised.value.request_id == "r-1"
    assert str(raised.value) == text
