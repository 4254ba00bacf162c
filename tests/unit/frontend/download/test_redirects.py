"""Redirects lead where browsers read them to lead, and never to a URL that a caller may not send."""

from __future__ import annotations

import pytest
from yarl import URL

from frontend.download.redirects import join_redirect
from frontend.download.urls import parse_url
from frontend.errors import InvalidUrl


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b.jpg", "http://example.org/b.jpg"),
        ("b.jpg?x=1", "http://example.org/dir/b.jpg?x=1"),
        ("//other.example/", "http://other.example/"),
        ("https://other.example:8443/", "https://other.example:8443/"),
        ("http://0x7f.1/", "http://127.0.0.1/"),
        ("/a b.jpg", "http://example.org/a%20b.jpg"),
        ("  /b.jpg\t", "http://example.org/b.jpg"),
        ("\\b\\c.jpg?d\\e", "http://example.org/b/c.jpg?d%5Ce"),
        ("\\\\other.example\\b", "http://other.example/b"),
        ("/\udce9.jpg", "http://example.org/%E9.jpg"),
        ("/ü.jpg", "http://example.org/%C3%BC.jpg"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
    ],
)
def test_redirects_are_resolved(location: str, target: str) -> None:
    assert join_redirect(parse_url("http://example.org/dir/a.jpg"), location) == URL(target, encoded=True)


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://x/",
        "http://u:p@x/",
        "http://[::1",
        "http://x:99999/",
        "/\0b",
    ],
)
def test_redirects_to_invalid_urls_are_refused(location: str) -> None:
    with pytest.raises(InvalidUrl):
        join_redirect(parse_url("http://example.org/dir/a.jpg"), location)
