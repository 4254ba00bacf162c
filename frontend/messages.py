"""Sentences for codes, from the YAML catalogues in locales/."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

from frontend.errors import ImageError, ServiceError

_LOCALES = Path(__file__).with_name("locales")


@cache
def _catalogue(language: str) -> dict[str, dict[str, str]]:
    catalogue: dict[str, dict[str, str]] = yaml.safe_load((_LOCALES / f"{language}.yaml").read_text("utf-8"))
    return catalogue


def error_message(code: str, language: str = "en", **parameters: str | int | float) -> str:
    """The sentence for an error of the whole request."""
    return _catalogue(language)["errors"][code].format(**parameters)


def service_error_message(error: ServiceError, language: str = "en") -> str:
    return error_message(error.code, language, **error.parameters)


def failure_message(failure: ImageError, language: str = "en") -> str:
    """The sentence for one image's failure."""
    catalogue = _catalogue(language)
    parameters = dict(failure.parameters)
    if "reason" in parameters:
        parameters["reason"] = catalogue["download_reasons"][str(parameters["reason"])].format(**parameters)
    return catalogue["failures"][failure.code].format(**parameters)
