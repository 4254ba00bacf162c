"""Reading the JSON body of POST /: every mistake is named, and no body costs much more than its bytes."""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.requests import UrlRequest, field_mistakes, parse_url_request
from frontend.errors import ImageDataInsteadOfUrl, InvalidRequest, InvalidUrl
from frontend.i18n.messages import error_message, failure_message

MAX_IMAGES = 1000
MEGABYTES_16 = 16_000_000


def parse(body: bytes | dict[str, Any]) -> UrlRequest:
    return parse_url_request(body if isinstance(body, bytes) else json.dumps(body).encode(), MAX_IMAGES)


def mistakes(body: bytes | dict[str, Any]) -> list[str]:
    """Return the English messages of the mistakes in a body."""
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    return [error_message(mistake.code, "en", **mistake.parameters) for mistake in caught.value.mistakes]


def filled(prefix: bytes, unit: bytes, suffix: bytes = b"") -> bytes:
    """Repeat `unit` between prefix and suffix up to the default limit for bodies."""
    return prefix + unit * ((MEGABYTES_16 - len(prefix) - len(suffix)) // len(unit)) + suffix


HOSTILE = {
    "numbers as images": filled(b'{"images":[', b"1,", b"1]}"),
    "empty strings as images": filled(b'{"images":[', b'"",', b'""]}'),
    "short strings as images": filled(b'{"images":[', b'"ab",', b'""]}'),
    "empty lists as images": filled(b'{"images":[', b"[],", b"[]]}"),
    "empty objects as images": filled(b'{"images":[', b"{},", b"{}]}"),
    "images is an object": filled(b'{"images":{', b'"a":[],', b'"a":1}}'),
    "images is deeply nested": filled(b'{"images":', b"["),
    "objects nested in k": filled(b'{"k":', b'{"k":'),
    "a list as k": filled(b'{"k":[', b"[],", b"[]]}"),
    "a huge integer": filled(b'{"k":', b"9", b"}"),
    "a huge fraction": filled(b'{"k":0.', b"9", b"}"),
    "a huge exponent": filled(b'{"k":1e', b"9", b"}"),
    "numbers as species": filled(b'{"species":[', b"1,", b"1]}"),
    "short strings as species": filled(b'{"species":[', b'"a",', b'""]}'),
    "a list in an unknown field": filled(b'{"other":[', b"{},", b"{}]}"),
    "unknown fields": b"{" + b",".join(b'"f%d":1' % n for n in range(1_200_000)) + b"}",
    "repeated fields": filled(b"{", b'"k":1,', b'"k":1}'),
    "one long URL": filled(b'{"images":["http://example.org/', b"a", b'"]}'),
    "one long string of escapes": filled(b'{"images":["', rb"\u00e9", b'"]}'),
    "a long model version": filled(b'{"model_version":"', b"1", b'"}'),
    "a long field name": filled(b'{"', b"k", b'":1}'),
    "white space": filled(b'{"images":[]}', b" "),
    "brackets": b"[" * MEGABYTES_16,
    "not UTF-8": b"\xff" * MEGABYTES_16,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_body_costs_little(body: bytes) -> None:
    """Before, pydantic built one error object per list item: 8 MB of numbers took 16.7 s and 4.8 GB."""

    def attempt() -> int:
        try:
            request = parse(body)
        except InvalidRequest as error:
            return sum(len(error_message(mistake.code, "en", **mistake.parameters)) for mistake in error.mistakes)
        return sum(map(len, request.fields.images))

    started = time.process_time()
    kept_characters = attempt()
    seconds = time.process_time() - started
    tracemalloc.start()
    attempt()
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept_characters < 10_000
    assert peak_bytes < 4 * len(body)  # decoded text, and one string of the same length
    assert seconds < 3


def test_valid_body_is_parsed() -> None:
    request = parse({"images": ["http://example.org/a.jpg", "b"], "k": 5, "model_version": "2"})
    assert request.fields.images == ["http://example.org/a.jpg", "b"]
    assert (request.fields.k, request.fields.model_version) == (5, "2")
    assert request.rejected == {}
    assert parse(b"\xef\xbb\xbf{}").fields.images == []  # with a byte order mark


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"images": "http://x/"}, ["images must be a list of URLs, not a single string"]),
        ({"images": ["a", 1]}, ["images[1] must be a string, but it is of type number"]),
        ({"images": [None]}, ["images[0] must be a string, but it is of type null"]),
        ({"images": [True]}, ["images[0] must be a string, but it is of type boolean"]),
        ({"images": [{"url": "a"}]}, ["images[0] must be a string, but it is of type object"]),
        ({"images": [["a"]]}, ["images[0] must be a string, but it is of type array"]),
        ({"images": None}, ["images must be a list of URLs, each a string"]),
        ({"images": {"a": 1}, "k": "3"}, ["images must be a list of URLs, each a string", "k must be a whole number"]),
        ({"image": ["a"]}, ["Unknown field: image. Did you mean images?"]),
        ({"urls": ["a"]}, ["Unknown field: urls. Did you mean images?"]),
        ({"Images": ["a"]}, ["Unknown field: Images. Did you mean images?"]),
        ({"model_verison": "1"}, ["Unknown field: model_verison. Did you mean model_version?"]),
        ({"images": [], "zoom": {"a": [1]}, "x": 1}, ["Unknown field: zoom", "Unknown field: x"]),
        ({"images": [], "\ud800": 1}, ["Unknown field: ?"]),
        (b'{"k": 1, "k": 2}', ["The field k appears more than once"]),
        ({"images": ["\ud800"]}, ["images must be a list of URLs, each a string"]),
        ({"model_version": "\ud800"}, ['model_version must be a string, like "1"']),
        ({"model_version": "1" * 65}, ['model_version must be a string, like "1"']),
        ({"k": 1.0}, ["k must be a whole number"]),
        (b'{"k": 1e999}', ["k must be a whole number"]),
        ({"min_score": 1.01}, ["min_score must be a number from 0 to 1"]),
        ({"min_score": -1}, ["min_score must be a number from 0 to 1"]),
        ({"min_score": "0.5"}, ["min_score must be a number from 0 to 1"]),
        ({"min_score": True}, ["min_score must be a number from 0 to 1"]),
        ({"species": 1}, ["species must be a list of scientific names, or the name of a species list"]),
        ({"species": []}, ["species must be a list of scientific names, or the name of a species list"]),
        ({"species": ["a", 1]}, ["species must be a list of scientific names, or the name of a species list"]),
        ({"species": ["a" * 201]}, ["species must be a list of scientific names, or the name of a species list"]),
        ({"specie": ["a"]}, ["Unknown field: specie. Did you mean species?"]),
        (b'{"images": []} {}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"images": [],}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"images": [NaN]}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"images": ["a",]}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"images": ["a",', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"images": [http://x/]}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"species": [x]}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
        (b'{"k": NaN}', ['The body must be JSON like {"images": ["https://…"], "k": 3}']),
    ],
    ids=str,
)
def test_mistakes_are_named(body: bytes | dict[str, Any], expected: list[str]) -> None:
    assert mistakes(body) == expected


def test_list_over_the_limit_keeps_one_too_many() -> None:
    request = parse({"images": ["a"] * 15_000, "k": -1})
    assert len(request.fields.images) == MAX_IMAGES + 1
    assert request.fields.k == -1  # so that both mistakes can be listed


def test_long_url_is_named_by_its_beginning() -> None:
    longest = "http://example.org/".ljust(8192, "a")
    request = parse({"images": [longest, longest + "a"]})
    assert request.fields.images == [longest, longest[:100]]
    assert request.rejected == {longest[:100]: InvalidUrl}


@pytest.mark.parametrize(
    "text",
    [
        "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQ",
        " DATA:image/jpeg;base64,/9j/4AAQSkZJRgABAQ",
        "/9j/4AAQSkZJRgABAQAAAQABAAD",
        "iVBORw0KGgoAAAANSUhEUgAAAAE" + "A" * 100_000,
        "R0lGODlhAQABAIAAAAAAAP///yH5",
        "UklGRiIAAABXRUJQVlA4IBYAAAAw",
    ],
)
def test_image_data_in_place_of_a_url_is_recognised(text: str) -> None:
    request = parse({"images": [text]})
    ((name, failure),) = request.rejected.items()
    assert request.fields.images == [name] == [text[:100]]
    assert failure is ImageDataInsteadOfUrl
    assert failure.code == "invalid_url"
    assert failure_message(failure(), "en").startswith("This is image data, not a URL.")


@pytest.mark.parametrize("text", ["/9j/a.jpg", "http://example.org/iVBORw0KGgo", "UklGR"])
def test_other_text_is_not_taken_for_image_data(text: str) -> None:
    assert parse({"images": [text]}).rejected == {}


async def test_rejected_image_is_never_downloaded() -> None:
    @asynccontextmanager
    async def download(url: str) -> AsyncIterator[bytes]:
        yield url.encode()

    request = parse({"images": ["data:,", "http://example.org/"]})
    opened = request.opener(download)
    async with opened("http://example.org/") as content:
        assert content == b"http://example.org/"
    with pytest.raises(ImageDataInsteadOfUrl):
        async with opened("data:,"):
            pass


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
BODIES = st.dictionaries(
    st.sampled_from(["images", "k", "model_version", "other"]), JSON | st.lists(st.text(max_size=30), max_size=4)
)


@given(BODIES.map(lambda body: json.dumps(body).encode()) | JSON.map(lambda value: json.dumps(value).encode()))
def test_parser_agrees_with_the_json_module(body: bytes) -> None:
    document = json.loads(body)
    try:
        fields = parse(body).fields
    except InvalidRequest:
        return
    assert isinstance(document, dict)
    assert fields.images == document.get("images", [])
    assert fields.k == document.get("k", 3)
    assert fields.model_version == document.get("model_version")


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(body: bytes) -> None:
    with suppress(InvalidRequest):
        parse(body)


def test_many_mistakes_in_query_name_ten_fields() -> None:
    """A query of 7,000 unknown parameters took 0.2 s, and its answer had 160 kB."""
    errors = [{"type": "extra_forbidden", "loc": ("query", f"a{n}")} for n in range(7000)]
    assert [mistake.parameters["field"] for mistake in field_mistakes(errors)] == [f"a{n}" for n in range(10)]
