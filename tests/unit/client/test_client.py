"""The Python client against services that misbehave: every image gets one result, or the run ends with one error."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from birds_client import (
    AsyncBirdsClient,
    BirdsClient,
    ClientError,
    ConfigurationError,
    Image,
    Photo,
    Prediction,
    Refused,
    Result,
    Unauthorized,
    Unreachable,
    asynchronous,
)

from tests.support.image_server import ImageServer
from tools.serve.ports import free_port

Service = Callable[[list[str]], web.StreamResponse]


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asynchronous, "_FIRST_PAUSE_SECONDS", 0.01)


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


def test_unreachable_service_fails_at_once() -> None:
    with BirdsClient(f"http://127.0.0.1:{free_port()}") as birds, pytest.raises(Unreachable):
        list(birds.classify(["http://example.org/a.jpg"]))


def test_https_to_a_service_without_tls_says_so(image_server: ImageServer) -> None:
    url = image_server.url("").replace("http:", "https:")
    with BirdsClient(url) as birds, pytest.raises(Unreachable, match="does not use TLS: try http://"):
        list(birds.classify(["http://example.org/a.jpg"]))


def test_other_service_is_recognised(image_server: ImageServer) -> None:
    url = service(image_server, lambda _: web.Response(text="<html>welcome</html>"))
    with BirdsClient(url) as birds, pytest.raises(Unreachable, match="another program answers"):
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
def test_retries_passing_trouble_without_repeating_results(image_server: ImageServer, trouble: Service) -> None:
    with BirdsClient(service(image_server, trouble, whole)) as birds:
        results = list(birds.classify(["a", "b", "c"]))
    assert sorted(str(result.image) for result in results) == ["a", "b", "c"]
    assert not failures(results)


def test_gives_up_after_several_attempts(image_server: ImageServer) -> None:
    def busy(_: list[str]) -> web.StreamResponse:
        return web.json_response({"errors": ["busy"]}, status=503)

    with (
        BirdsClient(service(image_server, *[busy] * asynchronous._ATTEMPTS)) as birds,
        pytest.raises(Unreachable, match="busy"),
    ):
        list(birds.classify(["a"]))


def test_api_key_is_sent(image_server: ImageServer) -> None:
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
def test_error_has_the_request_id(image_server: ImageServer, status: int, kind: type[ClientError], text: str) -> None:
    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"errors": ["No"]}, status=status, headers={"X-Request-ID": "r-1"})

    with BirdsClient(image_server.add("/", refuse).rstrip("/")) as birds, pytest.raises(kind) as raised:
        list(birds.classify(["http://x/"]))
    assert raised.value.request_id == "r-1"
    assert str(raised.value) == text


def test_answered_image_is_not_sent_again(image_server: ImageServer) -> None:
    """An image that kills a decoder would kill another one with each attempt."""
    asked: list[list[str]] = []

    def failing(urls: list[str]) -> web.StreamResponse:
        asked.append(urls)
        poison = {"url": "poison", "failure": {"code": "inference_failed", "message": "Triton failed"}}
        lost = {"url": "lost", "failure": {"code": "triton_unavailable", "message": "Triton is gone"}}
        totals = {"succeeded": 0, "failed": 2, "status": 503, "errors": ["Triton is gone"]}
        return web.Response(text="".join(json.dumps(line) + "\n" for line in (poison, lost, totals)))

    with BirdsClient(service(image_server, failing, whole)) as birds:
        results = list(birds.classify(["poison", "lost", "good"]))
    assert asked == [["poison", "lost", "good"]]
    assert failures(results) == {"poison": "inference_failed", "lost": "triton_unavailable"}
    assert len(results) == 3


@pytest.mark.parametrize(
    "break_off",
    [
        lambda _: web.Response(text=""),
        lambda _: web.Response(text='{"status": 503, "errors": ["Triton is gone"]}\n'),
    ],
    ids=["no lines", "totals with an error"],
)
def test_broken_answer_is_repeated_once(image_server: ImageServer, break_off: Service) -> None:
    with BirdsClient(service(image_server, break_off, break_off, whole)) as birds, pytest.raises(Unreachable):
        list(birds.classify(["poison"]))
    assert image_server.requests["/"] == 2


@pytest.fixture
def anything(image_server: ImageServer) -> str:
    """A service that classifies every URL and every file."""

    async def files(request: web.Request) -> web.StreamResponse:
        names = [str(part.filename) async for part in await request.multipart()]  # type: ignore[union-attr]
        return whole(names)

    image_server.add("/files", files)
    return service(image_server, *[whole] * 10)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("http://x/a.jpg", ["http://x/a.jpg"]),
        (b"content", [b"content"]),
        (Photo("p", b"content"), [Photo("p", b"content")]),
        (Path(__file__), [Path(__file__)]),
        ([b"one", b"two"], [b"one", b"two"]),
        (("http://x/a.jpg", "http://x/a.jpg", b"one"), ["http://x/a.jpg", b"one"]),
        ({"http://x/a.jpg": 1}, ["http://x/a.jpg"]),
        ((name for name in "ab"), ["a", "b"]),
        ([], []),
    ],
    ids=["a string", "bytes", "a Photo", "a Path", "list of bytes", "tuple", "dict", "generator", "nothing"],
)
async def test_accepts_one_image_or_any_iterable(
    anything: str, images: Image | list[Image], expected: list[Image]
) -> None:
    """In any order: URLs and files are in two requests, either of which may be answered first."""
    if isinstance(images, Iterator):
        images = list(images)
        with BirdsClient(anything) as birds:
            assert Counter(result.image for result in birds.classify(image for image in images)) == Counter(expected)
    async with AsyncBirdsClient(anything) as client:
        assert Counter([result.image async for result in client.classify(images)]) == Counter(expected)


@pytest.mark.parametrize("wrong", [7, [7], [None], [["a"]]], ids=repr)
def test_rejects_what_is_not_an_image(anything: str, wrong: Any) -> None:
    with BirdsClient(anything) as birds, pytest.raises(TypeError):
        list(birds.classify(wrong))


@pytest.mark.parametrize(
    ("url", "key", "reason"),
    [
        ("127.0.0.1:8000", None, "is not a URL such as"),
        ("", None, "is not a URL such as"),
        ("ftp://x", None, "is not a URL such as"),
        ("http://", None, "is not a URL such as"),
        ("http://x:99999", None, "is not a URL such as"),
        ("http://x", "sécret", "printable ASCII"),
        ("http://x", "sec\nret", "printable ASCII"),
    ],
)
def test_wrong_settings_fail_at_once(url: str, key: str | None, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason) as raised:
        BirdsClient(url, api_key=key)
    assert not key or key not in str(raised.value)


def test_api_key_may_end_in_a_line_end(image_server: ImageServer) -> None:
    with BirdsClient(service(image_server, whole), api_key="secret\n") as birds:
        list(birds.classify("a"))
    assert image_server.headers["/"]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize("variable", ["http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("proxy", ["http://127.0.0.1:1", "socks5://127.0.0.1:1"])
def test_loopback_service_needs_no_proxy(
    image_server: ImageServer, monkeypatch: pytest.MonkeyPatch, variable: str, proxy: str
) -> None:
    monkeypatch.setenv(variable, proxy)
    with BirdsClient(service(image_server, whole), api_key="secret") as birds:
        assert len(list(birds.classify("a"))) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:1"), ("HTTPS_PROXY", "ftp://x"), ("SSL_CERT_FILE", "/no/such/file")],
)
def test_broken_network_variables_are_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable):
        BirdsClient("https://example.org")


def test_options_are_sent_only_when_given(image_server: ImageServer) -> None:
    bodies: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        line = {"url": "a", "predictions": [{"bird_name": "background", "score": 0.9}], "no_bird": True, "new": 1}
        return web.Response(text=json.dumps(line) + "\n")

    with BirdsClient(image_server.add("/", answer).rstrip("/")) as birds:
        (plain,) = birds.classify("a")
        list(birds.classify("a", k=2, model_version="1", min_score=0.0, species=["Ara macao"]))
    assert plain == Result("a", [Prediction("background", None, 0.9)], no_bird=True)
    assert bodies == [
        {"images": ["a"]},
        {"images": ["a"], "k": 2, "model_version": "1", "min_score": 0.0, "species": ["Ara macao"]},
    ]


@pytest.mark.parametrize("image", ["http://example.org/owl.jpg", b"content"], ids=["URL", "content"])
@pytest.mark.parametrize("none", [[], ""], ids=["no names", "no list"])
def test_no_species_at_all_is_refused_for_every_image(anything: str, image: str | bytes, none: Any) -> None:
    """The service would answer without species for URLs, and with all species for files."""
    with BirdsClient(anything) as birds, pytest.raises(ValueError, match="species is empty"):
        list(birds.classify(image, species=none))


def test_older_service_doubts_no_answer(image_server: ImageServer) -> None:
    """A service that does not know the setting sends no `not_sure_below`."""
    answer = {"default": "1", "versions": [{"version": "1", "default": True}]}
    url = image_server.add("/models", json.dumps(answer).encode()).removesuffix("/models")
    with BirdsClient(url) as birds:
        assert birds.models().not_sure_below == 0


def test_waiting_is_reported(image_server: ImageServer) -> None:
    def busy(_: list[str]) -> web.StreamResponse:
        return web.json_response({"errors": ["slow down"]}, status=429)

    waits: list[tuple[str, float]] = []
    with BirdsClient(
        service(image_server, busy, whole), on_wait=lambda reason, seconds: waits.append((reason, seconds))
    ) as birds:
        list(birds.classify("a"))
    assert waits == [("slow down", 0.01)]


def test_works_inside_a_with_statement_only(anything: str) -> None:
    with pytest.raises(RuntimeError, match="with"):
        list(BirdsClient(anything).classify("a"))


def test_unfinished_run_ends_with_the_client(anything: str) -> None:
    with BirdsClient(anything) as birds:
        results = birds.classify(f"http://x/{n}" for n in range(100))
        next(results)
    with pytest.raises(RuntimeError, match="with"):
        next(results)


def test_shortened_urls_are_matched(image_server: ImageServer) -> None:
    """The service names a URL over 8,192 characters by its first 100, and equal names once."""
    long = ["http://example.org/".ljust(8193, "a") + end for end in "bc"]
    address = service(image_server, lambda urls: whole(list(dict.fromkeys(url[:100] for url in urls))))
    with BirdsClient(address) as client:
        results = list(client.classify(["http://example.org/", *long]))
    assert sorted(str(result.image) for result in results) == sorted(["http://example.org/", *long])
