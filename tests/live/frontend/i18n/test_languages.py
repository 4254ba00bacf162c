"""Sentences in the reader's language: every catalogue whole, the best one chosen, codes the same in all."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from babel import Locale
from hypothesis import given
from hypothesis import strategies as st

from frontend.i18n.messages import catalogue, error_message, languages, message, preferred_language
from tests.support.image_server import ImageServer
from tests.support.images import RED, flat

ENGLISH = catalogue("en")
KEYS = [(section, key) for section in ENGLISH for key in ENGLISH[section]]
OTHERS = [language for language in languages() if language != "en"]


def sentences(entry: Any) -> Iterator[str]:
    """The one sentence, or that of every plural form."""
    if isinstance(entry, dict):
        for forms in entry.values():
            yield from forms.values()
    else:
        yield entry


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def test_the_languages_are_these() -> None:
    assert {"en", "es", "de", "fr", "et", "zh"} <= set(languages())


@pytest.mark.parametrize("language", OTHERS)
def test_a_catalogue_has_the_keys_of_the_english_one(language: str) -> None:
    assert {section: list(keys) for section, keys in catalogue(language).items()} == {
        section: list(keys) for section, keys in ENGLISH.items()
    }


@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize(("section", "key"), KEYS, ids=lambda value: value)
def test_a_sentence_has_the_placeholders_of_the_english_one(language: str, section: str, key: str) -> None:
    english = placeholders(next(sentences(ENGLISH[section][key])))
    for sentence in sentences(catalogue(language)[section][key]):
        assert sentence.strip()
        assert placeholders(sentence) == english


@pytest.mark.parametrize("language", languages())
def test_a_sentence_about_a_number_has_every_plural_form_of_its_language(language: str) -> None:
    categories = set(Locale.parse(language).plural_form.rules) | {"other"}
    for section, key in KEYS:
        entry = catalogue(language)[section][key]
        if isinstance(entry, dict):
            [(counted, forms)] = entry.items()
            assert set(forms) == categories, f"{section}.{key}"
            assert counted in placeholders(forms["other"])


@pytest.mark.parametrize("language", languages())
@pytest.mark.parametrize("number", [0, 1, 2, 5, 1000, 1_000_000, 0.5])
def test_every_sentence_can_be_made_for_any_number(language: str, number: float) -> None:
    for section, key in KEYS:
        names = placeholders(next(sentences(ENGLISH[section][key])))
        made = message(section, key, language, **dict.fromkeys(names, number))
        assert "{" not in made.replace('{"images"', "")


def test_the_english_sentences_are_those_of_the_contract() -> None:
    assert error_message("no_images", "en") == "No images provided"
    assert error_message("too_many_images", "en", max=1) == "Too many images provided. Max 1 images allowed"
    assert error_message("k_too_small", "en", min=0) == "Min allowed value of K is 0"
    assert error_message("k_too_large", "en", max=10) == "Max allowed value of K is 10"


def test_numbers_choose_the_plural_form() -> None:
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
def test_the_best_language_is_chosen(header: str | None, language: str) -> None:
    assert preferred_language(header) == language


@given(st.text())
def test_no_header_is_too_odd(header: str) -> None:
    assert preferred_language(header) in languages()


@pytest.mark.parametrize("language", languages())
def test_codes_never_change_with_the_language(frontend: httpx.Client, image_server: ImageServer, language: str) -> None:
    urls = [image_server.url("/missing"), image_server.add("/page", b"<html>"), "ftp://x/", "http://10.0.0.1/"]
    good = image_server.add("/red.png", flat(RED))
    answer = frontend.post("/", json={"images": [*urls, good]}, headers={"Accept-Language": language})
    assert answer.headers["Content-Language"] == language
    assert "Accept-Language" in answer.headers["Vary"]
    failures = answer.json()["failures"]
    assert [failure["code"] for failure in failures] == [
        "download_failed",
        "not_an_image",
        "invalid_url",
        "forbidden_url",
    ]
    assert failures[2]["message"] == catalogue(language)["failures"]["invalid_url"]
    assert answer.json()["successful_results"][good][0]["common_name"] == "Great Red"  # as the label has it


@pytest.mark.parametrize(
    ("path", "body", "sentence"),
    [
        ("/", b'{"images": []}', "Keine Bilder angegeben"),
        ("/", b"nonsense", 'Der Inhalt der Anfrage muss JSON sein, etwa {"images": ["https://…"], "k": 3}'),
        ("/files", b"nonsense", catalogue("de")["errors"]["upload_invalid"].format(field="files")),
        ("/files?k=x", b"", "k muss eine ganze Zahl sein"),
    ],
)
def test_mistakes_of_the_request_too(frontend: httpx.Client, path: str, body: bytes, sentence: str) -> None:
    headers = {"Accept-Language": "de", "Content-Type": "application/json"}
    answer = frontend.post(path, content=body, headers=headers)
    assert answer.json()["errors"] == [sentence]
    assert answer.headers["Content-Language"] == "de"
