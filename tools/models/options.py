"""What a version of the classifier can be built from. Quick to import, because the help of the commands needs it."""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from tools.errors import UsageError

Source = Literal["aiy-birds-v1", "imagenet-birds"]
Scale = Literal["0..255", "0..1", "-1..1", "imagenet", "caffe"]
OutputKind = Literal["probabilities", "logits", "scores", "percent"]
SCALES: tuple[Scale, ...] = get_args(Scale)
FALLBACK: Source = "imagenet-birds"
_LARGEST_SIZE = 4096  # pixels on a side: a batch of 16 then takes 800 MB


@dataclass(frozen=True)
class OwnModel:
    """A model of the user's own, and what cannot be read from its files.

    `path` is a SavedModel, a Keras file or a zip of either. `scale` is the range of values that a model with
    floating-point input was trained on; `mean` and `std`, one number for each channel, apply after it. `size` is
    (height, width) in pixels, for models that take any size. `output` is the kind of numbers that the model answers
    with. A `multi_label` model scores each label independently.
    """

    path: Path
    labels: Path
    scale: Scale | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    signature: str | None = None
    output_name: str | None = None
    output: OutputKind | None = None
    multi_label: bool = False
    allow_random: bool = False
    allow_duplicates: bool = False

    def __post_init__(self) -> None:
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if values is None:
                continue
            if self.scale not in ("0..1", "0..255"):
                raise UsageError(f"{name} needs --scale 0..1 or --scale 0..255: the range that it applies to")
            if len(values) != 3 or not all(map(math.isfinite, values)):
                raise UsageError(f"{name} takes three numbers, for red, green and blue")
        if self.std and not all(self.std):
            raise UsageError("--std cannot be 0")
        if self.size and not all(1 <= side <= _LARGEST_SIZE for side in self.size):
            raise UsageError(f"--size must be between 1 and {_LARGEST_SIZE} pixels")
        if self.multi_label and self.output == "probabilities":
            raise UsageError("--multi-label and --output probabilities exclude each other: try --output scores")


@dataclass(frozen=True)
class BuildOptions:
    """One of the sources that come with the service, or a model of the user's own.

    `mirror` is a folder or a base URL in which files are looked up before the Internet.
    """

    source: Source | None = None
    own: OwnModel | None = None
    mirror: str | None = field(default_factory=lambda: os.environ.get("BIRDS_MODEL_MIRROR"))

    def __post_init__(self) -> None:
        if self.own and self.source:
            raise UsageError("--savedmodel and --source exclude each other")

    def to_json(self) -> str:
        """For a child process, which may run in another folder: paths are absolute."""
        options = asdict(self)
        if self.own:
            options["own"].update(path=str(self.own.path.absolute()), labels=str(self.own.labels.absolute()))
        if self.mirror and "://" not in self.mirror:
            options["mirror"] = str(Path(self.mirror).absolute())
        return json.dumps(options)

    @classmethod
    def from_json(cls, text: str) -> BuildOptions:
        options: dict[str, Any] = json.loads(text)
        if own := options["own"]:
            own.update(path=Path(own["path"]), labels=Path(own["labels"]))
            own.update({name: tuple(own[name]) for name in ("mean", "std", "size") if own[name] is not None})
            options["own"] = OwnModel(**own)
        return cls(**options)


def parse_size(text: str) -> tuple[int, int]:
    """`299`, or height and width as `299x224`. Raises UsageError."""
    sides = text.lower().split("x")
    if len(sides) not in (1, 2) or not all(side.isascii() and side.isdecimal() and len(side) < 6 for side in sides):
        raise UsageError(f"'{text}' is not a size: write 299, or height and width as 299x224")
    return int(sides[0]), int(sides[-1])
