"""The parts of the documented contract that need no Triton: refused requests, the OpenAPI document, health."""

from __future__ import annotations

import json

import httpx
import pytest

from frontend.settings import Settings
from tests.support.answers import NOTHING, SHAPE
from tests.support.frontend_server import running_frontend

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"images": []}, ["No images provided"]),
        ({}, ["No images provided"]),
        ({"images": ["x"] * 1001}, ["Too many images provided. Max 1000 images allowed"]),
        ({"images": ["x"], "k": -1}, ["Min allowed value of K is 0"]),
        ({"images": ["x"], "k": 11}, ["Max allowed value of K is 10"]),
        ({"images": [], "k": 11}, ["No images provided", "Max allowed value of K is 10"]),
        (
            {"images": ["x"] * 1001, "k": -1},
            ["Too many images provided. Max 1000 images allowed", "Min allowed value of K is 0"],
        ),
    ],
    ids=str,
)
def test_all_mistakes_are_listed_and_nothing_is_processed(
    frontend_without_triton: httpx.Client, body: dict[str, object], errors: list[str]
) -> None:
    response = frontend_without_triton.post("/", json=body)
    assert response.status_code == 200
    assert response.json() == NOTHING | {"time_taken": response.json()["time_taken"], "errors": errors}


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (b"", ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b"{", ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b"[]", ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b"null", ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b"\xff\xfe", ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"images": ["\xff"]}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"k": ' + b"9" * 5000 + b"}", ["k must be a whole number"]),
        (b"[" * 100_000, ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"images": "http://x/"}', ["images must be a list of URLs, not a single string"]),
        (b'{"images": [1]}', ["images[0] must be a string, but it is of type number"]),
        (b'{"images": ["\\ud800"]}', ["images must be a list of URLs, each a string"]),
        (b'{"image": ["http://x/"]}', ["Unknown field: image. Did you mean images?"]),
        (b'{"images": [], "k": "3"}', ["k must be a whole number"]),
        (b'{"images": [], "k": true}', ["k must be a whole number"]),
        (b'{"images": null, "k": 1.5}', ["images must be a list of URLs, each a string", "k must be a whole number"]),
    ],
)
def test_invalid_body_gets_422_in_the_documented_shape(
    frontend_without_triton: httpx.Client, body: bytes, errors: list[str]
) -> None:
    response = frontend_without_triton.post("/", content=body, headers=JSON)
    assert response.status_code == 422
    assert response.json() == NOTHING | {"time_taken": 0, "errors": errors}


@pytest.mark.parametrize("chunked", [False, True])
def test_body_over_the_limit_gets_413(chunked: bool) -> None:
    body = json.dumps({"images": ["http://example.org/" + "x" * 2000]}).encode()
    settings = Settings(max_request_bytes=1000)
    with running_frontend(settings) as url:
        response = httpx.post(f"{url}/", content=iter([body]) if chunked else body, headers=JSON, timeout=30)
    assert response.status_code == 413
    assert response.json() == NOTHING | {"time_taken": 0, "errors": ["The body is too large. Max 1000 bytes allowed"]}


def test_without_triton_the_answer_is_503(frontend_without_triton: httpx.Client) -> None:
    response = frontend_without_triton.post("/", json={"images": ["http://example.org/"]})
    assert frontend_without_triton.get("/health/live").status_code == 200
    assert frontend_without_triton.get("/health/ready").status_code == 503
    assert response.status_code == 503
    assert int(response.headers["Retry-After"]) >= 1
    message = "The inference server is not available. Try again later"
    assert response.json() == NOTHING | {"time_taken": 0, "errors": [message]}


def test_openapi_document_has_examples(frontend_without_triton: httpx.Client) -> None:
    document = frontend_without_triton.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    body = document["paths"]["/"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["examples"]
    (score, _) = body["schema"]["properties"]["min_score"]["anyOf"]
    assert (score["minimum"], score["maximum"]) == (0, 1)
    assert set(schemas["ClassifyResponse"]["examples"][0]) == SHAPE
    assert {"200", "413", "422", "503"} <= set(document["paths"]["/"]["post"]["responses"])


def test_head_reports_not_ready(frontend_without_triton: httpx.Client) -> None:
    assert frontend_without_triton.head("/health/ready").status_code == 503


def test_each_operation_is_documented_once(frontend_without_triton: httpx.Client) -> None:
    operations = [
        (method, operation["operationId"])
        for methods in frontend_without_triton.get("/openapi.json").json()["paths"].values()
        for method, operation in methods.items()
    ]
    assert {method for method, _ in operations} == {"get", "post"}
    assert len({name for _, name in operations}) == len(operations)


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, "The header Content-Type is missing. Send Content-Type: application/json"),
        ({"Content-Type": ""}, "The header Content-Type is missing. Send Content-Type: application/json"),
        (
            {"Content-Type": "application/x-www-form-urlencoded"},
            "The header Content-Type must be application/json. To upload files, use POST /files",
        ),
        (
            {"Content-Type": "multipart/form-data; boundary=b"},
            "The header Content-Type must be application/json. To upload files, use POST /files",
        ),
    ],
)
def test_wrong_content_type_is_named(
    frontend_without_triton: httpx.Client, headers: dict[str, str], error: str
) -> None:
    response = frontend_without_triton.post("/", content=b'{"images": []}', headers=headers)
    assert response.status_code == 422
    assert response.json()["errors"] == [error]


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON", "application/ld+json"])
def test_json_content_types_are_accepted(frontend_without_triton: httpx.Client, media_type: str) -> None:
    response = frontend_without_triton.post("/", content=b'{"images": []}', headers={"Content-Type": media_type})
    assert response.json()["errors"] == ["No images provided"]


def test_unknown_query_parameters_are_named(frontend_without_triton: httpx.Client) -> None:
    response = frontend_without_triton.post("/files?K=1&k=x&model_version=1", files={"files": ("a.png", b"a")})
    assert response.status_code == 422
    assert response.json()["errors"] == ["k must be a whole number", "Unknown field: K. Did you mean k?"]


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("k=1_0", "k must be a whole number"),
        ("min_score=0_1", "min_score must be a number from 0 to 1"),
        ("min_score=0.1_0", "min_score must be a number from 0 to 1"),
        ("min_score=nan", "min_score must be a number from 0 to 1"),
    ],
)
def test_numbers_in_the_query_are_plain(frontend_without_triton: httpx.Client, query: str, error: str) -> None:
    response = frontend_without_triton.post(f"/files?{query}", files={"files": ("a.png", b"a")})
    assert response.status_code == 422
    assert response.json()["errors"] == [error]


@pytest.mark.parametrize("name", ["images", "image", "url"])
def test_only_query_parameters_are_suggested_for_uploads(frontend_without_triton: httpx.Client, name: str) -> None:
    response = frontend_without_triton.post(f"/files?{name}=x", files={"files": ("a.png", b"a")})
    assert response.json()["errors"] == [f"Unknown field: {name}"]


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [("application/x-ndjson;q=0", "application/json"), ("application/jsonl", "application/jsonl")],
)
def test_accept_header_selects_the_content_type(
    frontend_without_triton: httpx.Client, accept: str, media_type: str
) -> None:
    response = frontend_without_triton.post("/", json={"images": []}, headers={"Accept": accept})
    assert response.headers["Content-Type"] == media_type
    assert response.json()["errors"] == ["No images provided"]
