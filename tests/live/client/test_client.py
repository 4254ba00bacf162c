"""The Python client against the real service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from birds_client import UNREADABLE, AsyncBirdsClient, BirdsClient, Image, Photo, Refused, Result

from tests.support.image_server import ImageServer
from tests.support.images import BLUE, GREEN, RED, flat


@pytest.fixture
def birds(frontend: httpx.Client) -> Iterator[BirdsClient]:
    with BirdsClient(str(frontend.base_url)) as birds:
        yield birds


def species(results: list[Result]) -> dict[Image, str]:
    return {result.image: result.predictions[0].bird_name for result in results if result.failure is None}


def failures(results: list[Result]) -> dict[Image, str]:
    return {result.image: result.failure.code for result in results if result.failure}


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
        missing: UNREADABLE,
        "ftp://x/": "invalid_url",
        tmp_path: UNREADABLE,
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


def test_endless_supply_is_read_as_results_come(birds: BirdsClient) -> None:
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


async def test_asynchronous_client_classifies(frontend: httpx.Client) -> None:
    async with AsyncBirdsClient(str(frontend.base_url)) as birds:
        results = [result async for result in birds.classify([Photo("red", flat(RED))])]
    assert list(species(results).values()) == ["Rubra maxima"]


def test_failures_are_in_the_requested_language(frontend: httpx.Client) -> None:
    with BirdsClient(str(frontend.base_url), language="de-AT, en;q=0.5") as birds:
        (result,) = birds.classify(["ftp://x/"])
    assert result.failure
    assert result.failure.code == "invalid_url"
    assert result.failure.message == "Die URL muss mit https:// oder http:// beginnen"


def test_named_version_answers(birds: BirdsClient) -> None:
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
