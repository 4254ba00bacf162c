"""The supply of photos to measure with never repeats itself, and costs the same to decode."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from tools.measure.decoding import decode, pixel_format
from tools.measure.photos import load_photos, numbered_photo


@pytest.fixture(scope="module")
def generated() -> list[bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BIRDS_TEST_PHOTOS", raising=False)
        return load_photos()


def test_generated_photos_are_always_the_same(generated: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIRDS_TEST_PHOTOS", raising=False)
    assert generated == load_photos()
    assert all(Image.open(io.BytesIO(photo)).size == (500, 375) for photo in generated)
    assert 50_000 < np.mean([len(photo) for photo in generated]) < 200_000


def test_real_photos_come_from_the_named_folders(
    generated: list[bytes], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [tmp_path_factory.mktemp("photos") for _ in range(2)]
    for folder, photo in zip(folders, generated, strict=False):
        (folder / "a.jpg").write_bytes(photo)
        (folder / "notes.txt").write_text("not a photo")
    monkeypatch.setenv("BIRDS_TEST_PHOTOS", ":".join(map(str, folders)))
    assert load_photos() == generated[:2]


def test_every_number_gives_different_pixels(generated: list[bytes]) -> None:
    few, wanted = generated[:3], pixel_format()
    numbers = range(30 * len(few))
    pictures = [numbered_photo(few, number) for number in numbers]
    assert pictures[: len(few)] == few
    assert len({decode(picture, wanted).tobytes() for picture in pictures}) == len(numbers)
    assert all(len(picture) == len(few[number % len(few)]) for number, picture in enumerate(pictures))


def test_variant_changes_the_photo_not_the_thumbnail(generated: list[bytes]) -> None:
    """The EXIF segment of a camera's JPEG holds a JPEG of its own, with a quantization table that comes first."""
    thumbnail = generated[0]
    segment = b"\xff\xe1" + (2 + 1000).to_bytes(2, "big") + thumbnail[:1000]
    camera = generated[1][:2] + segment + generated[1][2:]
    assert numbered_photo([camera], 1)[: 2 + len(segment)] == camera[: 2 + len(segment)]
    assert not np.array_equal(decode(numbered_photo([camera], 1), pixel_format()), decode(camera, pixel_format()))
