"""The images of a release: labels, tags, and what is run to build them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from frontend import VERSION
from tools import ROOT
from tools.release import images
from tools.release.images import GPU_IMAGE, IMAGES, Source, build_command

SOURCE = Source("0123456789abcdef0123456789abcdef01234567", is_changed=False, made_at="1700000000")
CHANGED = Source(SOURCE.revision, is_changed=True, made_at=SOURCE.made_at)
RECORDER = '#!/bin/sh\necho "$(basename "$0") $*" >> "$RECORD"\n'


@pytest.mark.parametrize("image", [*IMAGES, GPU_IMAGE], ids=lambda image: image.name)
def test_images_have_labels_and_two_tags(image: images.Image) -> None:
    command = build_command(image, SOURCE, "registry.example.org/birds/")
    labels = {word.removeprefix("--label=org.opencontainers.image.") for word in command if word.startswith("--label=")}
    assert labels == {f"version={VERSION}", f"revision={SOURCE.revision}", "licenses=Apache-2.0"}
    name = f"registry.example.org/birds/{image.name}"
    assert [word for word in command if word.startswith("--tag=")] == [
        f"--tag={name}:{VERSION}",
        f"--tag={name}:{VERSION}-0123456789ab",
    ]
    assert (ROOT / image.dockerfile).exists()
    assert ("--build-arg=VARIANT=gpu" in command) == (image is GPU_IMAGE)


def test_changed_checkout_never_takes_the_releases_tag() -> None:
    tags = [word for word in build_command(IMAGES[0], CHANGED, "") if word.startswith("--tag=")]
    assert tags == [f"--tag=birds-frontend:{VERSION}-0123456789ab-changed"]


def test_licence_of_the_label_is_the_projects() -> None:
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_image_is_built_described_and_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for program in ("docker", "syft"):
        (tmp_path / program).write_text(RECORDER)
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    monkeypatch.setattr(images, "_SBOM_FOLDER", tmp_path / "dist")
    monkeypatch.setattr(images, "current_source", lambda: SOURCE)
    assert images.main(["--gpu", "--push"]) == 0
    steps = [" ".join(line.split()[:2]) for line in (tmp_path / "record").read_text().splitlines()]
    assert steps == ["docker build", "syft scan", "docker push", "docker push"] * 4


def test_failed_build_ends_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(images, "current_source", lambda: SOURCE)
    with pytest.raises(SystemExit, match="docker build ended with 3"):
        images.main([])
