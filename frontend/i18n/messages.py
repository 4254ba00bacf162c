"""Sentences for codes, from the YAML catalogues in locales/, in the language that the reader prefers.

A catalogue's sentence may depend on a number: instead of text it then holds {placeholder: {category: text}}, with the
plural categories of the language (CLDR's, as Babel knows them).
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
_MAX_PREFERENCES = 50  # a header with more is noise

Parameter = str | int | float


@cache
def languages() -> list[str]:
    """The languages that have a catalogue."""
    return sorted(path.stem for path in _LOCALES.glob("*.yaml"))


def preferred_language(accept_language: str | None) -> str:
    """The catalogue that an Accept-Language header asks for: by quality, then by order; English when none fits."""
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
    """A language's sentences by section and code, as the file has them."""
    sections: dict[str, dict[str, Any]] = yaml.safe_load((_LOCALES / f"{language}.yaml").read_text("utf-8"))
    return sections


def message(section: str, code: str, language: str, **parameters: Parameter) -> str:
    """The sentence under `code`, its placeholders filled in, in the plural form that its number asks for."""
    sentence = catalogue(language)[section][code]
    if isinstance(sentence, dict):
        [(counted, forms)] = sentence.items()
        sentence = forms[Locale.parse(language).plural_form(float(parameters[counted]))]
    return str(sentence).format(**parameters)


def error_message(code: str, language: str, **parameters: Parameter) -> str:
    """The sentence for an error of the whole request."""
    return message("errors", code, language, **parameters)


def service_error_message(error: ServiceError, language: str) -> str:
    return error_message(error.code, language, **error.parameters)


def failure_message(failure: ImageError, language: str) -> str:
    """The sentence for one image's failure."""
    parameters = dict(failure.parameters)
    if "reason" in parameters:
        parameters["reason"] = message("download_reasons", str(parameters["reason"]), language, **parameters)
    return message("failures", failure.code, language, **parameters)
