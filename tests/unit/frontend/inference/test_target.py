"""Values of BIRDS_TRITON_URL."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from frontend.inference.target import HostPort, TritonTarget, triton_target
from frontend.settings import Settings


def hosts(*pairs: tuple[str, int], name_server: HostPort | None = None) -> TritonTarget:
    return TritonTarget(tuple(HostPort(*pair) for pair in pairs), name_server)


@pytest.mark.parametrize(
    ("url", "target", "is_fixed"),
    [
        ("127.0.0.1:8011", hosts(("127.0.0.1", 8011)), True),
        ("triton:8011", hosts(("triton", 8011)), False),
        ("[::1]:8011", hosts(("::1", 8011)), True),
        ("10.0.0.1:8011,10.0.0.2:8011", hosts(("10.0.0.1", 8011), ("10.0.0.2", 8011)), True),
        ("10.0.0.1:8011, 10.0.0.1:8021", hosts(("10.0.0.1", 8011), ("10.0.0.1", 8021)), True),
        ("[fd00::1]:8011,[fd00::2]:8011", hosts(("fd00::1", 8011), ("fd00::2", 8011)), True),
        ("dns:triton:8011", hosts(("triton", 8011)), False),
        ("dns:///triton:8011", hosts(("triton", 8011)), False),
        ("dns:///triton.birds.svc.cluster.local.:8011", hosts(("triton.birds.svc.cluster.local.", 8011)), False),
        (
            "dns://10.0.0.53/triton.birds.svc:8011",
            hosts(("triton.birds.svc", 8011), name_server=HostPort("10.0.0.53", 53)),
            False,
        ),
        ("a" * 63 + ".svc:8011", hosts(("a" * 63 + ".svc", 8011)), False),
        ("dns://10.0.0.53:5353/triton:8011", hosts(("triton", 8011), name_server=HostPort("10.0.0.53", 5353)), False),
    ],
)
def test_documented_forms_are_parsed(url: str, target: TritonTarget, is_fixed: bool) -> None:
    assert triton_target(url) == target
    assert target.is_fixed == is_fixed
    assert Settings(triton_url=url).triton_url == url


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "host:port"),
        ("127.0.0.1", "host:port"),
        ("127.0.0.1:0", "host:port"),
        ("127.0.0.1:65536", "host:port"),
        ("http://127.0.0.1:8011", "host:port"),
        ("127.0.0.1:8011,", "host:port"),
        ("dns:///triton", "host:port"),
        ("dns:///triton:0", "host:port"),
        ("triton-0:8011,triton-1:8011", "for a name write dns:///name:port"),
        ("127.0.0.1:8011,[::1]:8011", "not both"),
        ("a" * 64 + ".svc:8011", "is not a DNS name"),
        ("dns:///" + "a" * 300 + ":8011", "is not a DNS name"),
        ("dns:///triton..svc:8011", "is not a DNS name"),
        (".svc:8011", "is not a DNS name"),
        ("dns:///" + ".".join(["a" * 60] * 5) + ":8011", "is not a DNS name"),
        ("dns://" + "b" * 64 + "/triton:8011", "is not a DNS name"),
    ],
)
def test_other_forms_are_refused_with_a_hint(url: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        Settings(triton_url=url)
