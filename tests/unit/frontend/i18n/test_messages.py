"""The catalogues are complete, and the best language is chosen."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from frontend.i18n.messages import catalogue, error_message, languages, message, preferred_language

ENGLISH = catalogue("en")
KEYS = [(section, key) for section in ENGLISH for key in ENGLISH[section]]
OTHERS = [language for language in languages() if language != "en"]


def messages_of(entry: Any) -> Iterator[str]:
    """Yield the message, or the message of every plural form."""
    if isinstance(entry, dict):
        for forms in entry.values():
            yield from forms.values()
    else:
        yield entry


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_six_languages_are_available() -> None:
    assert {"en", "es", "de", "fr", "et", "zh"} <= set(languages())


@pytest.mark.parametrize("language", OTHERS)
def test_catalogue_has_the_keys_of_english(language: str) -> None:
    assert {section: list(keys) for section, keys in catalogue(language).items()} == {
        section: list(keys) for section, keys in ENGLISH.items()
    }


@pytest.mark.parametrize("language", OTHERS)
def test_messages_have_the_placeholders_of_english(language: str) -> None:
    for section, key in KEYS:
        english = placeholders(next(messages_of(ENGLISH[section][key])))
        for text in messages_of(catalogue(language)[section][key]):
            assert text.strip(), (section, key)
            assert placeholders(text) == english, (section, key)


@pytest.mark.parametrize("language", languages())
def test_message_has_every_plural_form(language: str) -> None:
    categories = set(Locale.parse(language).plural_form.rules) | {"other"}
    for section, key in KEYS:
        entry = catalogue(language)[section][key]
        if isinstance(entry, dict):
            [(counted, forms)] = entry.items()
            assert set(forms) == categories, f"{section}.{key}"
            assert counted in placeholders(forms["other"])


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("number", [0, 1, 2, 5, 1000, 1_000_000, 0.5])
def test_every_message_works_for_any_number(language: str, number: float) -> None:
    for section, key in KEYS:
        names = placeholders(next(messages_of(ENGLISH[section][key])))
        made = message(section, key, language, **dict.fromkeys(names, number))
        assert "{" not in made.replace('{"images"', "")


def test_english_messages_match_the_contract() -> None:
    assert error_message("no_images", "en") == "No images provided"
    assert error_message("too_many_images", "en", max=1) == "Too many images provided. Max 1 images allowed"
    assert error_message("k_too_small", "en", min=0) == "Min allowed value of K is 0"
    assert error_message("k_too_large", "en", max=10) == "Max allowed value of K is 10"


def test_number_selects_the_plural_form() -> None:
    assert message("failures", "download_timeout", "en", seconds=1.0).endswith("1 second")
    assert message("failures", "download_timeout", "en", seconds=0.5).endswith("0.5 seconds")
    assert error_message("too_many_images", "de", max=1).endswith(f"{1} Bild ist erlaubt")
    assert error_message("too_many_images", "de", max=2).endswith(f"{2} Bilder sind erlaubt")
    assert error_message("too_many_images", "fr", max=0).endswith("0 image au maximum")
    assert error_message("too_many_images", "es", max=1_000_000).endswith("1000000 de imágenes como máximo")


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("DE-at", "de"),
        ("zh-Hant-TW", "zh"),
        ("de_CH", "de"),
        ("fr;q=0.4, de;q=0.8, en;q=0.2", "de"),
        ("fr, de", "fr"),
        ("sv, fi;q=0.9, et;q=0.1", "et"),
        ("sv", "en"),
        ("*", "en"),
        ("sv, *;q=0.5, de;q=0.1", "en"),
        ("de;q=0, fr;q=0.1", "fr"),
        ("de;q=0", "en"),
        ("de;q=high, fr", "fr"),
        ("de;q=9, fr;q=0.1", "fr"),
        ("de; q=0.5 , es ; q=0.7", "es"),
        (";;;,,,==", "en"),
    ],
)
def test_best_language_is_chosen(header: str | None, language: str) -> None:
    assert preferred_language(header) == language


@given(st.text())
def test_any_header_gives_a_language(header: str) -> None:
    assert preferred_language(header) in languages()
