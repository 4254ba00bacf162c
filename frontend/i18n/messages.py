"""Messages for codes, from the YAML catalogues in locales/, in the language that the reader prefers.

A message that depends on a number is not a string but a mapping: {placeholder: {category: text}}. The categories are
the plural categories of the language (CLDR, from Babel).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from babel import Locale, negotiate_locale

from frontend.errors import ImageError, ServiceError
from frontend.i18n.quality_values import quality_values

DEFAULT_LANGUAGE = "en"
_LOCALES = Path(__file__).with_name("locales")

Parameter = str | int | float


@cache
def languages() -> list[str]:
    """Return the languages that have a catalogue."""
    return sorted(path.stem for path in _LOCALES.glob("*.yaml"))


def preferred_language(accept_language: str | None) -> str:
    """Return the language for an Accept-Language header: by quality, then by position. The default is English."""
    if accept_language is None:
        return DEFAULT_LANGUAGE
    wanted = {tag.replace("_", "-"): quality for tag, quality in quality_values(accept_language).items()}
    refused = {tag for tag, quality in wanted.items() if quality == 0}
    ranked = sorted((tag for tag in wanted if tag not in refused), key=lambda tag: -wanted[tag])
    available = [language for language in languages() if language not in refused]
    for tag in ranked:
        if tag == "*":
            break
        if language := negotiate_locale([tag], available, sep="-"):
            return language
    return DEFAULT_LANGUAGE


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
    return message("failures", failure.message_key, language, **parameters)
