"""`min_score`, `species` and `no_bird`, with a fake Triton that answers as the tiny model does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from birds_client import BirdsClient, Refused, Species

from frontend.settings import Settings
from tests.support.answers import lines
from tests.support.frontend_server import running_frontend
from tests.support.image_server import ImageServer
from tests.support.images import GREY, RED, flat
from tests.support.network import LOOPBACK


@pytest.fixture(scope="module")
def with_lists(fake_triton_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A frontend with two species lists and a default for min_score."""
    folder: Path = tmp_path_factory.mktemp("species")
    (folder / "blue.txt").write_text("# blue birds\nCaerulea\nUnknown to the model\n")
    (folder / "all.txt").write_text("Rubra maxima\nViridis minor\nCaerulea\n")
    settings = Settings(
        triton_url=fake_triton_url, download_allow_networks=LOOPBACK, species_lists=folder, min_score=0.5
    )
    with running_frontend(settings) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


def names(predictions: list[dict[str, Any]]) -> list[str]:
    return [prediction["bird_name"] for prediction in predictions]


def test_models_say_below_which_score_to_doubt(fake_triton_url: str) -> None:
    settings = Settings(triton_url=fake_triton_url, not_sure_below=0.25)
    with running_frontend(settings) as url, BirdsClient(url) as birds:
        assert birds.models().not_sure_below == 0.25


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, ["Rubra maxima"]),
        ({"min_score": 0, "species": "all"}, ["Rubra maxima", "Viridis minor", "Caerulea"]),
        ({"min_score": 1}, []),
        ({"min_score": 0, "species": ["Caerulea"]}, ["Caerulea"]),
        ({"min_score": 0, "species": "blue", "k": 5}, ["Caerulea"]),
        ({"min_score": 0, "species": ["Caerulea", "Rubra maxima"], "k": 1}, ["Rubra maxima"]),
        ({"species": "blue"}, []),
    ],
    ids=str,
)
def test_min_score_and_species_filter_the_predictions(
    with_lists: httpx.Client, image_server: ImageServer, fields: dict[str, Any], expected: list[str]
) -> None:
    url = image_server.add("/red.png", flat(RED))
    answer = with_lists.post("/", json={"images": [url], **fields}).json()
    assert answer["errors"] == []
    found = names(answer["successful_results"][url])
    assert (found[:1], set(found)) == (expected[:1], set(expected))
    uploaded = with_lists.post("/files", params=fields, files={"files": ("red.png", flat(RED))}).json()
    assert names(uploaded["successful_results"]["red.png"]) == found


def test_species_keep_the_scores_of_the_model(with_lists: httpx.Client, image_server: ImageServer) -> None:
    url = image_server.add("/red.png", flat(RED))
    everything = with_lists.post("/", json={"images": [url], "k": 10, "min_score": 0}).json()
    only = with_lists.post("/", json={"images": [url], "min_score": 0, "species": ["Caerulea"]}).json()
    assert only["successful_results"][url][0] in everything["successful_results"][url]


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"species": "bleu"}, "There is no species list bleu. Nearest matches: blue"),
        ({"species": ["Caerulia"]}, "The model does not know the species Caerulia. Nearest matches: Caerulea"),
    ],
)
def test_unknown_names_are_errors(with_lists: httpx.Client, fields: dict[str, Any], error: str) -> None:
    answer = with_lists.post("/", json={"images": ["http://example.org/"], **fields}).json()
    assert answer["errors"] == [error]
    assert answer["failed_results"] == []


def test_images_without_a_bird_are_listed(frontend: httpx.Client, image_server: ImageServer) -> None:
    grey, red = image_server.add("/grey.png", flat(GREY)), image_server.add("/red.png", flat(RED))
    answer = frontend.post("/", json={"images": [red, grey], "k": 1}).json()
    assert answer["no_bird"] == [grey]
    assert names(answer["successful_results"][grey]) == ["background"]
    only_birds = frontend.post("/", json={"images": [grey], "species": ["Caerulea"]}).json()
    assert only_birds["no_bird"] == [grey]
    *images, _ = lines(frontend, {"images": [red, grey], "k": 1})
    assert {line["url"]: line.get("no_bird") for line in images} == {grey: True, red: None}


def test_species_lists_are_named(with_lists: httpx.Client, frontend: httpx.Client) -> None:
    lists = [{"name": "all", "species": 3}, {"name": "blue", "species": 2}]
    assert with_lists.get("/species-lists").json() == {"lists": lists}
    assert json.loads(frontend.get("/species-lists").text) == {"lists": []}


def test_species_of_a_version_are_listed(frontend: httpx.Client) -> None:
    with BirdsClient(str(frontend.base_url)) as birds:
        named = birds.species()
        assert Species("Rubra maxima", "Great Red") in named
        assert "background" not in {species.bird_name for species in named}
        assert birds.species(birds.models().default) == named
        with pytest.raises(Refused, match="There is no model version 99"):
            birds.species("99")
