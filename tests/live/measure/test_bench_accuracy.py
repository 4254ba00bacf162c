"""How an engine variant's agreement with LiteRT is measured: on photos with LiteRT's answers beside them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.images import BLUE, GREEN, GREY, RED, flat
from tests.support.tiny_model import LABELS
from tools.measure.bench.accuracy import measure, references
from tools.serve.triton_process import TritonServer

HEADER = "file\tsize\tLiteRT top-1\tscore\n"


@pytest.fixture
def photos(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a reference, and one without."""
    folder, other = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("more")
    for name, colour in {"red": RED, "green": GREEN, "blue": BLUE, "grey": GREY}.items():
        (folder / f"{name}.png").write_bytes(flat(colour))
    (other / "red.jpg").write_bytes(flat(RED, "JPEG"))
    monkeypatch.setenv("BIRDS_TEST_PHOTOS", f"{folder}{os.pathsep}{other}")
    return folder


def test_agreement_counts_photos_with_a_reference(triton: TritonServer, photos: Path) -> None:
    hybrid = LABELS[2].replace("×", "\\xd7")  # as the published labels spell it
    rows = [
        f"red.png\t40x30\t{LABELS[0]}\t1.0\n",
        f"blue.png\t40x30\t{hybrid}\t0.3\n",
        f"green.png\t40x30\t{LABELS[0]}\t0.5\n",
    ]
    (photos / "reference.tsv").write_text(HEADER + "".join(rows))
    found = measure(triton.grpc_url, references())
    assert found["agreeing"] == pytest.approx(2 / 3)
    # The scores of red and blue are nearly 1; the green photo has a score of nearly 0 for red.
    assert found["score_difference"] == pytest.approx((0 + 0.7 + 0.5) / 3, abs=0.05)


def test_no_reference_means_nothing_to_measure(photos: Path) -> None:
    assert references() == []
