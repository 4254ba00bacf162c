"""Which strings are accepted as URLs, and what is requested for them."""

from __future__ import annotations

import pytest

from frontend.download.urls import MAX_LENGTH, parse_url
from frontend.errors import InvalidUrl, UrlScheme
from frontend.i18n.messages import failure_message

INVALID = {
    "nothing": "",
    "no scheme": "example.org/a.jpg",
    "no host": "http:///a.jpg",
    "relative": "/a.jpg",
    "protocol-relative": "//example.org/a.jpg",
    "file": "file:///etc/passwd",
    "ftp": "ftp://example.org/a.jpg",
    "data": "data:image/png;base64,AAAA",
    "gopher": "gopher://127.0.0.1:6379/_FLUSHALL",
    "javascript": "javascript:alert(1)",
    "user": "http://user@example.org/",
    "user and password": "http://user:secret@example.org/",
    "empty user": "http://@example.org/",
    "host hidden behind a user": "http://example.org@127.0.0.1/",
    "backslash": "http://example.org\\@127.0.0.1/",
    "NUL": "http://example.org/a\0.jpg",
    "CR LF": "http://example.org/a\r\nHost: inside",
    "tab": "http://exa\tmple.org/",
    "space in the host": "http://exa mple.org/",
    "control character of Latin-1": "http://example.org/\x85.jpg",
    "percent-encoded host": "http://%31%32%37.0.0.1/",
    "percent-encoded dot": "http://127%2e0.0.1/",
    "port 0": "http://example.org:0/",
    "port too large": "http://example.org:65536/",
    "negative port": "http://example.org:-80/",
    "port that is not a number": "http://example.org:http/",
    "IPv6 without brackets": "http://::1/",
    "IPv6 with a zone": "http://[fe80::1%25eth0]/",
    "IPv6 with a bare zone": "http://[fe80::1%eth0]/",
    "not IPv6": "http://[::g]/",
    "IPvFuture": "http://[v1.abc]/",
    "half a bracket": "http://[::1/",
    "IPv4 in brackets": "http://[127.0.0.1]/",
    "too large for IPv4": "http://256.0.0.1/",
    "five numbers": "http://1.2.3.4.5/",
    "empty label": "http://example..org/",
    "leading dot": "http://.example.org/",
    "two trailing dots": "http://example.org../",
    "long label": f"http://{'a' * 64}.org/",
    "long name": f"http://{'a.' * 130}org/",
    "long IDN": f"http://{'ü' * 300}.org/",
    "emoji that is not a host": "http://\U0001f426\u200d⬛.\ud83d/",
    "bidirectional control": "http://exam\u202eple.org/",
    "lone surrogate": "http://example.org/\ud800",
    "10 kB": "http://example.org/" + "a" * 10_000,
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_urls_are_refused(case: str) -> None:
    with pytest.raises(InvalidUrl):
        parse_url(INVALID[case])


@pytest.mark.parametrize(
    "url", ["www.example.org/owl.jpg", "example.org:8080/owl.jpg", "/owl.jpg", "ftp://example.org/"]
)
def test_url_without_http_scheme_is_said(url: str) -> None:
    with pytest.raises(UrlScheme) as refusal:
        parse_url(url)
    assert refusal.value.code == "invalid_url"
    assert "https://" in failure_message(refusal.value, "en")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "0x7f.1",
        "0x7f000001",
        "0X7F.0x0.0x0.0x1",
        "2130706433",
        "0177.0.0.1",
        "017700000001",
        "127。0。0。1",
        "１２７．０．０．１",
        "①②⑦.⓪.⓪.①",
        "127｡0.0.1",
        "𝟷𝟸𝟽.0.0.1",
    ],
)
def test_every_spelling_becomes_the_dotted_quad(host: str) -> None:
    assert parse_url(f"http://{host}/").raw_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("EXAMPLE.org", "example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("ｌocalhost", "localhost"),
        ("ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "localhost"),
        ("loc\u00adalhost", "localhost"),
        ("faß.example", "xn--fa-hia.example"),
        ("日本語。jp", "xn--wgv71a119e.jp"),
        ("my_bucket.s3.example", "my_bucket.s3.example"),
        ("a-.example", "a-.example"),
        ("example.org.", "example.org."),
        ("[2001:DB8::127.0.0.1]", "2001:db8::7f00:1"),
        ("[0:0:0:0:0:0:0:1]", "::1"),
    ],
)
def test_hosts_are_normalized(host: str, expected: str) -> None:
    assert parse_url(f"https://{host}/x").raw_host == expected


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("http://example.org", "http://example.org/"),
        ("HTTP://example.org:80/a", "http://example.org/a"),
        ("https://example.org:8443/a/../b//c?x=1&x=2#part", "https://example.org:8443/a/../b//c?x=1&x=2"),
        ("http://example.org/%7e%2F%20?q=%2B+%", "http://example.org/%7e%2F%20?q=%2B+%"),
        ("http://example.org/鳥\U0001f426.jpg", "http://example.org/%E9%B3%A5%F0%9F%90%A6.jpg"),
        ("http://example.org?q", "http://example.org/?q"),
        (" \n http://example.org/a b.jpg?c d\u3000", "http://example.org/a%20b.jpg?c%20d"),
    ],
)
def test_path_and_query_are_sent_as_written(url: str, sent: str) -> None:
    assert str(parse_url(url)) == sent


def test_longest_url_is_accepted() -> None:
    url = "http://example.org/"
    assert parse_url(url + "a" * (MAX_LENGTH - len(url)))
