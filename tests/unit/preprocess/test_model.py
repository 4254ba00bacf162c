"""The `preprocess` model between requests and responses, with a stand-in for Triton's Python module."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, ClassVar

import colour_profiles
import numpy as np
import pytest
from PIL import ImageCms

from tests.support.hostile_images import bmp_row_of_zeros
from tests.support.images import BLUE, GREEN, RED, encoded, flat, halves
from tests.support.processes import eventually
from tests.support.profiles import rgb_profile
from tests.support.python_backend import Request, Response, TritonError, stub_module
from tools.models.repository import MODEL_REPOSITORY

LIMITS = {"width": 24, "height": 16, "max_pixels": 50_000_000, "max_bytes": 20_000_000}
SLOW = flat(RED, "GIF", (4000, 3000))


class Images(Request):
    """A request of some images; responses that come late are in `sent`."""

    def __init__(self, *images: bytes, outputs: tuple[str, ...] = ("PIXELS",)) -> None:
        super().__init__("IMAGE", np.array([[image] for image in images], dtype=np.object_))
        self.outputs = outputs
        self.timeout_microseconds = 0
        self.sent: list[Response] = []

    def requested_output_names(self) -> list[str]:
        return list(self.outputs)

    def timeout(self) -> int:
        return self.timeout_microseconds

    def get_response_sender(self) -> Images:
        return self

    def send(self, response: Response, flags: int) -> None:
        assert flags == 1
        self.sent.append(response)


class MetricFamily:
    """A family of counters: their values by the label `kind`, until the counters are deleted."""

    COUNTER = "counter"
    values: ClassVar[dict[str, float]] = {}

    def __init__(self, name: str, description: str, kind: str) -> None:
        assert (name, kind) == ("birds_damaged_images_total", self.COUNTER)
        self.values.clear()

    def Metric(self, labels: dict[str, str]) -> Counter:  # noqa: N802 the name of Triton's method
        assert labels["process"] == str(os.getpid())
        return Counter(self.values, labels["kind"])


class Counter:
    def __init__(self, values: dict[str, float], kind: str) -> None:
        self._values, self._kind = values, kind
        values[kind] = 0

    def increment(self, value: float) -> None:
        self._values[self._kind] += value

    def __del__(self) -> None:
        self._values.pop(self._kind, None)


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIRDS_USABLE_CORES", "3")


@pytest.fixture
def model(logged: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    stub = stub_module(logged)
    stub.MetricFamily = MetricFamily
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stub)
    monkeypatch.delitem(sys.modules, "damaged_images", raising=False)  # it keeps the module that it imported
    spec = importlib.util.spec_from_file_location(
        "preprocess_model", MODEL_REPOSITORY / "preprocess" / "1" / "model.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    parameters = {**LIMITS, "decode_seconds": 5, "decode_bytes_per_pixel": 20}
    config = {
        "parameters": {name: {"string_value": str(value)} for name, value in parameters.items()},
        "output": [{"name": "PIXELS"}, {"name": "PIXELS_30x40"}],
    }
    model = module.TritonPythonModel()
    model.initialize({"model_config": json.dumps(config)})
    yield model
    model.finalize()
    assert not MetricFamily.values  # server #8662: a metric that outlives the model crashes the process


def answers(model: Any, *requests: Images) -> list[Response]:
    """The responses, in the order of the requests, whether they come at once or late."""
    responses = model.execute(list(requests))
    late = [request for request, response in zip(requests, responses, strict=True) if response is None]
    assert eventually(lambda: all(request.sent for request in late))
    return [response or request.sent[0] for request, response in zip(requests, responses, strict=True)]


def is_colour(pixels: np.ndarray, colour: tuple[int, ...]) -> bool:
    return bool(np.abs(pixels.astype(int) - colour).max() <= 8)


def test_answers_each_request_with_its_own_pixels(model: Any) -> None:
    first, second = answers(model, Images(flat(RED), flat(BLUE, "JPEG")), Images(flat(GREEN, "WEBP")))
    assert first.array.shape == (2, 16, 24, 3)
    assert is_colour(first.array[0], RED)
    assert is_colour(first.array[1], BLUE)
    assert is_colour(second.array[0], GREEN)


def test_output_name_decides_the_size(model: Any) -> None:
    (response,) = answers(model, Images(flat(RED, "GIF"), outputs=("PIXELS", "PIXELS_30x40")))
    assert [tensor.array.shape for tensor in response.tensors] == [(1, 16, 24, 3), (1, 30, 40, 3)]


def test_bad_image_fails_its_own_request(model: Any) -> None:
    good, bad = model.execute([Images(flat(RED)), Images(b"nothing")])
    assert good.error is None
    assert (bad.error.code, bad.error.message) == (TritonError.INVALID_ARG, "not_an_image: the bytes are not an image")


def test_expired_image_is_not_decoded(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow images of clients that have gone would delay those of others."""
    decoded: list[bytes] = []
    real = model.workers.decode

    def decode(data: bytes, wanted: Any) -> Any:
        decoded.append(data)
        return real(data, wanted)

    monkeypatch.setattr(model.workers, "decode", decode)
    expired, patient, endless = (Images(flat(colour, "GIF")) for colour in (RED, GREEN, BLUE))
    expired.timeout_microseconds, patient.timeout_microseconds = 1, 60_000_000
    first, second, third = answers(model, expired, patient, endless)
    assert first.error
    assert (first.error.code, first.error.message) == ("unavailable", "deadline_exceeded: Request timeout expired")
    assert is_colour(second.array[0], GREEN)
    assert is_colour(third.array[0], BLUE)
    assert sorted(decoded) == sorted([flat(GREEN, "GIF"), flat(BLUE, "GIF")])


def test_slow_image_is_answered_after_its_batch(model: Any) -> None:
    quick, slow = Images(flat(GREEN)), Images(SLOW, flat(GREEN))
    model._decode_in_worker = delayed(model._decode_in_worker)
    responses = model.execute([quick, slow])
    assert is_colour(responses[0].array, GREEN)
    assert responses[1] is None
    assert eventually(lambda: bool(slow.sent))
    (late,) = slow.sent
    assert is_colour(late.array[0], RED)
    assert is_colour(late.array[1], GREEN)


def test_late_response_that_fails_is_still_sent(model: Any, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton would otherwise keep the request open for ever."""
    monkeypatch.setattr(model.workers, "decode", delayed(model.workers.decode))
    request = Images(SLOW)
    request.send = broken_once(request.send)  # type: ignore[method-assign]
    assert model.execute([request]) == [None]
    assert eventually(lambda: bool(request.sent))
    assert request.sent[0].error
    assert request.sent[0].error.code == TritonError.INTERNAL
    assert "no shared memory" in logged[0]


def broken_once(send: Any) -> Any:
    """A response sender that fails at first, as with full shared memory."""
    failures = [MemoryError("no shared memory")]

    def failing(response: Response, flags: int) -> None:
        if failures:
            raise failures.pop()
        send(response, flags)

    return failing


def delayed(decode: Any) -> Any:
    """`decode` once the batch has been answered without it."""

    def wait(*arguments: Any) -> Any:
        eventually(lambda: False, 0.5)
        return decode(*arguments)

    return wait


def test_too_expensive_image_fails_with_a_code(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.workers, "_seconds", 0.5)
    bomb = Images(bmp_row_of_zeros())
    model.execute([bomb])
    assert eventually(lambda: bool(bomb.sent))
    assert bomb.sent[0].error is not None
    assert bomb.sent[0].error.message.startswith("too_expensive: ")
    assert bomb.sent[0].error.code == TritonError.INVALID_ARG


def test_bug_is_logged_and_not_shown(model: Any, logged: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model.workers, "decode", lambda *_: 1 / 0)
    (response,) = answers(model, Images(flat(RED, "GIF")))
    assert response.error is not None
    assert (response.error.code, response.error.message) == (TritonError.INTERNAL, "internal_error: it has been logged")
    assert "ZeroDivisionError" in logged[0]


def test_profile_is_judged_by_a_worker_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a worker has found that a profile means sRGB, images that have it are decoded here."""
    asked: list[bytes] = []
    decode = model.workers.decode

    def counted(data: bytes, *arguments: Any) -> Any:
        asked.append(data)
        return decode(data, *arguments)

    monkeypatch.setattr(model.workers, "decode", counted)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    wide = rgb_profile(((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)), 2.2)
    counts = []
    for profile in (srgb, wide):
        for _ in range(3):
            answers(model, Images(encoded(halves(RED, BLUE), "JPEG", icc_profile=profile)))
        counts.append(len(asked))
    assert counts == [1, 4]


def test_profile_known_as_srgb_is_not_parsed_again(model: Any) -> None:
    """lcms would read a stranger's profile in Triton's own process, without the limits of a worker."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    model.srgb_profiles.add(srgb)
    before = colour_profiles._read.cache_info()
    (response,) = answers(model, Images(encoded(halves(RED, BLUE), "JPEG", icc_profile=srgb)))
    assert is_colour(response.array[0, 8, 2], RED)
    assert colour_profiles._read.cache_info() == before


def test_counts_the_damage_of_classified_images(model: Any) -> None:
    unusable, cut = flat(RED, "JPEG", (400, 400), icc_profile=b"nothing"), flat(RED, "JPEG", (400, 400))[:-2]
    answers(
        model,
        Images(cut, cut, flat(RED)),
        Images(unusable),
        Images(unusable[:-2]),
        Images(cut[:200]),
    )
    assert MetricFamily.values == {"cut_short": 3, "checksum": 0, "metadata_too_large": 0, "profile": 2}


@pytest.mark.usefixtures("three_cores")
def test_decodes_on_the_cores_that_triton_may_use(model: Any) -> None:
    assert model.decoding_threads._max_workers == 3
