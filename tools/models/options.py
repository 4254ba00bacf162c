"""What a version of the classifier can be built from. Light to import: the command line shows these choices."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from tools.errors import UsageError

Source = Literal["aiy-birds-v1", "imagenet-birds"]
Scale = Literal["0..255", "0..1", "-1..1", "imagenet"]
SOURCES: tuple[Source, ...] = get_args(Source)
SCALES: tuple[Scale, ...] = get_args(Scale)
FALLBACK: Source = "imagenet-birds"


@dataclass(frozen=True)
class BuildOptions:
    """One of the sources that come with the service, or a SavedModel of one's own with its labels.

    `scale` is the range of values that a SavedModel with floating-point input was trained on. `mirror` is a folder or
    a base URL that is asked for files before the Internet.
    """

    source: Source | None = None
    savedmodel: Path | None = None
    labels: Path | None = None
    scale: Scale | None = None
    mirror: str | None = field(default_factory=lambda: os.environ.get("BIRDS_MODEL_MIRROR"))

    def __post_init__(self) -> None:
        if bool(self.savedmodel) != bool(self.labels):
            raise UsageError("--savedmodel and --labels go together")
        if self.savedmodel and self.source:
            raise UsageError("--savedmodel and --source exclude each other")
        if self.scale and not self.savedmodel:
            raise UsageError("--scale is for --savedmodel")

    def to_json(self) -> str:
        """For a child process, which may run in another folder: paths are absolute."""
        options = {name: value for name, value in asdict(self).items() if value is not None}
        for name, value in options.items():
            if isinstance(value, Path) or (name == "mirror" and "://" not in value):
                options[name] = str(Path(value).absolute())
        return json.dumps(options)

    @classmethod
    def from_json(cls, text: str) -> BuildOptions:
        options = json.loads(text)
        for name in ("savedmodel", "labels"):
            if name in options:
                options[name] = Path(options[name])
        return cls(**options)
