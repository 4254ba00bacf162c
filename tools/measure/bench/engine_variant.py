"""An engine variant: the engine and the precision that the classifier runs with, by name."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf import text_format

from tools import ROOT
from tools.errors import UsageError
from tools.models.repository import MODEL_REPOSITORY, read_config

sys.path.append(str(ROOT / "backends" / "tensorflow"))

from savedmodel_engines import ENGINES, PRECISIONS


@dataclass(frozen=True)
class EngineVariant:
    """`parameters` replace those of the classifier's config.pbtxt."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)

    def effective(self, name: str) -> str:
        """The value of a parameter in this variant."""
        configured = read_config("classifier").parameters
        return self.parameters.get(name) or (configured[name].string_value if name in configured else "auto")


def parse_variant(text: str) -> EngineVariant:
    """Parse `engine`, `engine/precision`, or `configured` (the values of config.pbtxt). Raises UsageError."""
    if text == "configured":
        return EngineVariant(text)
    engine, slash, precision = text.partition("/")
    if engine not in ENGINES or (slash and precision not in PRECISIONS):
        raise UsageError(f"{text}: engines are {', '.join(ENGINES)}; precisions {', '.join(PRECISIONS)}")
    variant = EngineVariant(text, {"engine": engine, **({"precision": precision} if slash else {})})
    if missing := variant.parameters.keys() - set(read_config("classifier").parameters):
        raise UsageError(f"{text}: the classifier's config.pbtxt has no parameter {', '.join(sorted(missing))}")
    return variant


def apply_variant(variant: EngineVariant, repository: Path) -> None:
    """Edit the classifier's parameters in a copy of the model repository."""
    if repository.resolve() == MODEL_REPOSITORY.resolve():
        raise ValueError("a variant is applied to a copy, never to the project's own repository")
    if variant.parameters:
        config = read_config("classifier", repository)
        for name, value in variant.parameters.items():
            config.parameters[name].string_value = value
        (repository / "classifier" / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")
