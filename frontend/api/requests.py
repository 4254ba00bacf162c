"""Reads the body of POST / and names its mistakes. Time and memory stay bounded, whatever the body contains."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from fastapi import Depends, Request
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from frontend.api.json_reader import JsonReader, JsonTooLarge
from frontend.api.media_types import content_type
from frontend.api.schemas import MAX_SPECIES, ClassifyRequest, FilesQuery
from frontend.api.services import ServicesDependency
from frontend.download.urls import MAX_LENGTH
from frontend.errors import ImageDataInsteadOfUrl, ImageError, InvalidRequest, InvalidUrl, Mistake

# An answer shows only this many characters of a string that is longer than MAX_LENGTH: it must not repeat megabytes.
_NAME_CHARACTERS = 100
# A list of too many images is read up to this many times the limit, to find the request's other mistakes.
_MAX_EXCESS_FACTOR = 20
_MAX_MISTAKES = 10

# How base64 text of an image begins: JPEG, PNG, GIF, RIFF (WebP), BMP, and TIFF in both byte orders.
_BASE64_BEGINNINGS = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk0", "Qk1", "SUkqA", "TU0AK")
_BASE64_MIN_CHARACTERS = 20
# Names that clients of other services use for `images`.
_OTHER_NAMES_OF_IMAGES = {"image", "image_url", "image_urls", "url", "urls", "file", "files", "inputs", "instances"}

OpenImage = Callable[[str], AbstractAsyncContextManager[bytes]]


@dataclass(frozen=True)
class UrlRequest:
    """A valid body of POST /. `rejected` maps each of its images that fails without a download to its failure."""

    fields: ClassifyRequest
    rejected: dict[str, type[InvalidUrl]]

    is_complete = True  # of the body, as responses.ImageSource asks: it has arrived

    @property
    def names(self) -> list[str]:
        """The distinct images, in the order of first appearance."""
        return list(dict.fromkeys(self.fields.images))

    def opener(self, download: OpenImage) -> OpenImage:
        """Return `download`, except that rejected images raise their failure."""

        def opened(name: str) -> AbstractAsyncContextManager[bytes]:
            failure = self.rejected.get(name)
            return download(name) if failure is None else _failing(failure())

        return opened


@asynccontextmanager
async def _failing(failure: ImageError) -> AsyncIterator[bytes]:
    raise failure
    yield b""  # makes this function a generator


async def read_url_request(request: Request, services: ServicesDependency) -> UrlRequest:
    """Read the body of POST /. Raises InvalidRequest, ClientDisconnect, and the errors of BodyLimitMiddleware."""
    _check_content_type(request)
    return parse_url_request(await request.body(), services.settings.max_images)


UrlRequestDependency = Annotated[UrlRequest, Depends(read_url_request)]


def parse_url_request(body: bytes, max_images: int) -> UrlRequest:
    """Parse the body of POST /. Raises InvalidRequest. Keeps at most `max_images` + 1 images."""
    parser = _Parser(max_images)
    try:
        parser.read(JsonReader(body.decode(json.detect_encoding(body))))
    except ValueError as error:  # not JSON, or not Unicode
        raise InvalidRequest([Mistake("body_invalid")]) from error
    mistakes = parser.mistakes
    try:
        fields = ClassifyRequest.model_validate({"images": parser.images, **parser.values})
    except ValidationError as error:
        mistakes += field_mistakes(error.errors(include_url=False, include_input=False))
    if mistakes:
        raise InvalidRequest(mistakes)
    return UrlRequest(fields, parser.rejected)


def field_mistakes(errors: Iterable[ErrorDetails | dict[str, Any]]) -> list[Mistake]:
    """Return one mistake for each field that pydantic found wrong, for the first _MAX_MISTAKES fields."""
    mistakes: dict[str, Mistake] = {}
    for error in errors:
        if len(mistakes) == _MAX_MISTAKES:  # 7,000 unknown parameters took 0.2 s
            break
        # A field of the query has the location ("query", name), a field of the JSON body (name, …).
        location = [part for part in error["loc"] if part not in ("query", "body")]
        name = str(location[0]) if location else "body"
        if error["type"] == "extra_forbidden":  # only in the query: the parser has found those of the body
            mistakes.setdefault(name, _unknown_field(name, FilesQuery))
        else:
            mistakes.setdefault(name, Mistake(f"{name}_invalid"))
    return list(mistakes.values())


def _check_content_type(request: Request) -> None:
    media_type, _ = content_type(request)
    if not media_type:
        raise InvalidRequest([Mistake("content_type_missing")])
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        raise InvalidRequest([Mistake("content_type_invalid")])


def _unknown_field(name: str, model: type[ClassifyRequest | FilesQuery]) -> Mistake:
    shown, known = _shown(name), list(model.model_fields)
    is_other_name = name.lower() in _OTHER_NAMES_OF_IMAGES and "images" in known
    close = ["images"] if is_other_name else get_close_matches(shown.lower(), known, n=1)
    if close:
        return Mistake("field_misspelt", {"field": shown, "suggestion": close[0]})
    return Mistake("field_unknown", {"field": shown})


def _is_image_data(text: str) -> bool:
    beginning = text[:_NAME_CHARACTERS].strip()
    is_base64 = len(beginning) >= _BASE64_MIN_CHARACTERS and beginning.startswith(_BASE64_BEGINNINGS)
    return is_base64 or beginning.lower().startswith("data:")


def _shown(name: str) -> str:
    """Return the name of a field as an answer may repeat it: short, and without lone surrogates."""
    return name[:_NAME_CHARACTERS].encode("utf-8", "replace").decode()


def _skip(reader: JsonReader) -> bool:
    """Skip a value; return False if it is so large that nothing after it can be read."""
    try:
        reader.value()
    except JsonTooLarge:
        return False
    return True


class _Parser:
    """Collects the fields of a body and its mistakes. It stops at a value that is too expensive to read."""

    def __init__(self, max_images: int) -> None:
        self._max_images = max_images
        self.mistakes: list[Mistake] = []
        self.images: list[str] = []
        self.rejected: dict[str, type[InvalidUrl]] = {}
        self.values: dict[str, Any] = {}

    def read(self, reader: JsonReader) -> None:
        """Read the whole body, or stop early after a mistake. Raises ValueError if it is not a JSON object."""
        seen: set[str] = set()
        for name in reader.fields():
            if name in seen:
                self.mistakes.append(Mistake("field_repeated", {"field": _shown(name)}))
                return
            seen.add(name)
            try:
                may_continue = self._read_images(reader) if name == "images" else self._read_field(name, reader)
            except JsonTooLarge:
                self.mistakes.append(Mistake(f"{name}_invalid"))
                return
            if not may_continue:
                return
        reader.end()

    def _read_field(self, name: str, reader: JsonReader) -> bool:
        """Read the value of a field; return whether more fields may be read."""
        if name not in ClassifyRequest.model_fields:
            self.mistakes.append(_unknown_field(name, ClassifyRequest))
            return len(self.mistakes) < _MAX_MISTAKES and _skip(reader)
        if name == "species" and reader.kind() == "array":
            return self._read_species(reader)
        self.values[name] = reader.value()
        return True

    def _read_species(self, reader: JsonReader) -> bool:
        """Read the list of `species`; return whether more fields may be read."""
        names: list[str] = []
        for _ in reader.items():
            if reader.kind() != "string" or len(names) == MAX_SPECIES:
                self.mistakes.append(Mistake("species_invalid"))
                return False
            names.append(reader.string())
        self.values["species"] = names
        return True

    def _read_images(self, reader: JsonReader) -> bool:
        """Read the value of `images`; return whether more fields may be read."""
        if (kind := reader.kind()) != "array":
            self.mistakes.append(Mistake("images_not_a_list" if kind == "string" else "images_invalid"))
            return _skip(reader)
        for position, _ in enumerate(reader.items()):
            if (kind := reader.kind()) != "string":
                self.mistakes.append(Mistake("image_not_a_string", {"position": position, "kind": kind}))
                return False
            text = reader.string()
            if position <= self._max_images:
                self._add(text)
            elif position > _MAX_EXCESS_FACTOR * self._max_images:
                return False
        return True

    def _add(self, text: str) -> None:
        is_data = _is_image_data(text)
        if is_data or len(text) > MAX_LENGTH:
            text = text[:_NAME_CHARACTERS]
            self.rejected[text] = ImageDataInsteadOfUrl if is_data else InvalidUrl
        self.images.append(text)
