"""A form: the engine and precision that the classifier runs in, by name."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format

from tools import ROOT
from tools.models.repository import MODEL_REPOSITORY, read_config

sys.path.append(str(ROOT / "backends" / "tensorflow"))

from savedmodel_engines import ENGINES, PRECISIONS


class UnknownVariant(Exception):
    """A form that the classifier's configuration has no parameter for."""


@dataclass(frozen=True)
class Form:
    """What to put into the classifier's parameters; None leaves what config.pbtxt says."""

    name: str
    engine: str | None = None
    precision: str | None = None

    @property
    def parameters(self) -> dict[str, str]:
        chosen = {"engine": self.engine, "precision": self.precision}
        return {name: value for name, value in chosen.items() if value is not None}

    def effective(self, name: str, default: str) -> str:
        """The value of a parameter in this form."""
        configured = read_config("classifier").parameters
        return self.parameters.get(name) or (configured[name].string_value if name in configured else default)


def parse_form(text: str) -> Form:
    """`engine`, `engine/precision`, or `configured` for what config.pbtxt says. Raises UnknownVariant."""
    if text == "configured":
        return Form(text)
    engine, _, precision = text.partition("/")
    form = Form(text, engine, precision or None)
    if engine not in ENGINES or (precision or PRECISIONS[0]) not in PRECISIONS:
        raise UnknownVariant(f"{text}: engines are {', '.join(ENGINES)}; precisions {', '.join(PRECISIONS)}")
    missing = set(form.parameters) - set(read_config("classifier").parameters)
    if missing:
        raise UnknownVariant(f"{text}: the classifier's config.pbtxt has no parameter {', '.join(sorted(missing))}")
    return form


def apply_form(form: Form, repository: Path) -> None:
    """Edit the classifier's parameters in a copy of the model repository."""
    if repository.resolve() == MODEL_REPOSITORY.resolve():
        raise ValueError("a form is applied to a copy, never to the project's own repository")
    if form.parameters:
        config = read_config("classifier", repository)
        for name, value in form.parameters.items():
            config.parameters[name].string_value = value
        (repository / "classifier" / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")
