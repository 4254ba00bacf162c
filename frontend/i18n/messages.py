"""Messages for codes, from the YAML catalogues in locales/, in the language that the reader prefers.

A message that depends on a number is not a text but {placeholder: {category: text}}. The categories are the plural
categories of the language (CLDR, through Babel).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from babel import Locale, negotiate_locale

from frontend.errors import ImageError, ServiceError

DEFAULT_LANGUAGE = "en"
_LOCALES = Path(__file__).with_name("locales")
_MAX_PREFERENCES = 50  # no browser sends more; the rest of the header is ignored

Parameter = str | int | float


@cache
def languages() -> list[str]:
    """Return the languages that have a catalogue."""
    return sorted(path.stem for path in _LOCALES.glob("*.yaml"))


def preferred_language(accept_language: str | None) -> str:
    """Return the language for an Accept-Language header: by quality, then by order. The default is English."""
    wanted: dict[str, float] = {}
    for preference in (accept_language or "").split(",")[:_MAX_PREFERENCES]:
        tag, _, parameter = preference.partition(";")
        wanted.setdefault(tag.strip().lower().replace("_", "-"), _quality(parameter))
    refused = {tag for tag, quality in wanted.items() if quality == 0}
    ranked = sorted((tag for tag in wanted if tag and tag not in refused), key=lambda tag: -wanted[tag])
    available = [language for language in languages() if language not in refused]
    for tag in ranked:
        if tag == "*":
            break
        if language := negotiate_locale([tag], available, sep="-"):
            return language
    return DEFAULT_LANGUAGE


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


@cache
def catalogue(language: str) -> dict[str, dict[str, Any]]:
    """Return the messages of a language by section and code, as they are in the file."""
    sections: dict[str, dict[str, Any]] = yaml.safe_load((_LOCALES / f"{language}.yaml").read_text("utf-8"))
    return sections


def message(section: str, code: str, language: str, **parameters: Parameter) -> str:
    """Return the message for `code`, in the right plural form, with `parameters` in place of the placeholders."""
    text = catalogue(language)[section][code]
    if isinstance(text, dict):
        [(counted, forms)] = text.items()
        text = forms[Locale.parse(language).plural_form(float(parameters[counted]))]
    return str(text).format(**parameters)


def error_message(code: str, language: str, **parameters: Parameter) -> str:
    """Return the message for an error of a request as a whole."""
    return message("errors", code, language, **parameters)


def service_error_message(error: ServiceError, language: str) -> str:
    return error_message(error.code, language, **error.parameters)


def failure_message(failure: ImageError, language: str) -> str:
    """Return the message for the failure of one image."""
    parameters = dict(failure.parameters)
    if "reason" in parameters:
        parameters["reason"] = message("download_reasons", str(parameters["reason"]), language, **parameters)
    return message("failures", failure.code, language, **parameters)
