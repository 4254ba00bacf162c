"""An image host dies, stalls or flaps: its images fail with a code, and those of other hosts are unaffected."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.faults import Record, good_images, under_load
from tests.support.service import Service
from tools.measure.soak.answers import Case
from tools.measure.soak.image_host import ImageHost


@pytest.fixture
def host(tmp_path: Path) -> Iterator[ImageHost]:
    for name, (image, _) in good_images().items():
        (tmp_path / name).write_bytes(image)
    with ImageHost(tmp_path) as host:
        yield host


@pytest.mark.parametrize(
    ("fault", "inject", "codes"),
    [
        pytest.param("an image host gone for 2 s", lambda host: host.go_away(2), {"download_failed"}, id="dead"),
        # Twice as long as a download may take.
        pytest.param("an image host stalled for 4 s", lambda host: host.stall(4), {"download_timeout"}, id="slow"),
        pytest.param(
            *("an image host flapping", lambda host: host.flap(3), {"download_failed", "download_timeout"}),
            id="flapping",
        ),
    ],
)
def test_an_image_host_fails(
    service: Service,
    cases: list[Case],
    host: ImageHost,
    record: Record,
    fault: str,
    inject: Callable[[ImageHost], None],
    codes: set[str],
) -> None:
    its_cases = [Case(host.url(f"/{name}"), bird) for name, (_, bird) in good_images().items()]
    with under_load(service.url, cases, clients=3) as others, under_load(service.url, its_cases, clients=3) as load:
        at = time.monotonic()
        inject(host)
        load.wait_for_complete(20, since=time.monotonic(), timeout_seconds=90)
    record(fault, load, at)
    assert set(load.codes()) <= codes
    assert load.codes(), "nobody noticed the fault"
    assert set(load.verdicts()) == {"complete", "partial"}
    assert set(others.verdicts()) == {"complete"}
