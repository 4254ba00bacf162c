"""Reads images from a multipart body. Each file is passed on as soon as it is complete; no body is held as a whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import TypeAlias

from anyio import current_time, fail_after
from multipart import MultipartError, MultipartSegment
from starlette.requests import ClientDisconnect, Request

from frontend.api.media_types import content_type
from frontend.api.multipart_form import FormParser, field_name, file_name
from frontend.api.schemas import FILES_FIELD, FilesQuery
from frontend.api.streaming import client_disconnected
from frontend.classify.classifier import Image
from frontend.errors import (
    FieldBelongsInQuery,
    InvalidUpload,
    NoImages,
    Overloaded,
    RequestTimeout,
    TooLarge,
    TooManyImages,
    UnknownFormField,
)
from frontend.limits.memory_budget import MemoryBudget, Reservation
from frontend.middleware.request_context import RequestContext

# Empty parts are not images, but each costs memory.
_MAX_EMPTY_PARTS = 100
# Names of form fields in which clients send files. A text part with such a name was meant to be a file.
_FILE_FIELDS = {"files", "file", "images", "image", "photos", "photo", "upload", "uploads"}
_MAX_SHOWN_CHARACTERS = 100

# One event of the multipart parser: the headers of a part, then pieces of its content, then None at its end.
_Event: TypeAlias = MultipartSegment | bytes | bytearray | None


class _Part:
    """One file of `caller` while it arrives. Content beyond `max_bytes` is dropped, the rest uses `budget`."""

    def __init__(self, name: str, max_bytes: int, budget: MemoryBudget, caller: str) -> None:
        self.name = name
        self._max_bytes = max_bytes
        self._content = bytearray()
        self.reservation = Reservation(budget, caller, on_evicted=self._content.clear)

    async def add(self, data: bytes | bytearray) -> None:
        """Wait until memory is available for `data`, then keep it."""
        if self.is_too_large or self.reservation.is_evicted:
            return
        try:
            await self.reservation.acquire(len(data))
            self._content += data
        except Overloaded:
            pass  # only this file fails, when it is opened

    @property
    def is_too_large(self) -> bool:
        return len(self._content) > self._max_bytes

    @property
    def is_empty(self) -> bool:
        """Whether this is what a browser sends for a file field in which no file was chosen."""
        return not self.name and not self._content

    def image(self, name: str) -> Image:
        """Return the complete file as an image, once. The memory is released when the image is closed."""
        self.reservation.complete()
        is_too_large, content = self.is_too_large, bytes(self._content)
        self._content.clear()

        @asynccontextmanager
        async def opened() -> AsyncIterator[bytes]:
            try:
                if self.reservation.is_evicted:
                    raise Overloaded()
                if is_too_large:
                    raise TooLarge(max=self._max_bytes)
                yield content
            finally:
                self.reservation.release()

        return Image(name, opened)


class Upload:
    """The files of one request, in the order in which they arrive."""

    def __init__(
        self, request: Request, max_images: int, max_bytes: int, context: RequestContext, budget: MemoryBudget
    ) -> None:
        self._request = request
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._context = context
        self._budget = budget
        self._names: dict[str, int] = {}  # in order of arrival, each with how many files have asked for it
        self._body_received = asyncio.Event()
        self.is_complete = False  # whether all images have been taken from the body

    @property
    def names(self) -> list[str]:
        """The names of the images that have arrived so far, in order."""
        return list(self._names)

    async def client_disconnected(self) -> None:
        """Return when the client disconnects after the end of the body. Before, `images` raises ClientDisconnect.

        The last images may still wait for their turn when the body has arrived.
        """
        await self._body_received.wait()
        await client_disconnected(self._request)

    async def images(self) -> AsyncGenerator[Image, None]:
        """Yield one image for each file. Must be closed, which releases the memory of images that nobody opened.

        A part with a file name is an image, whatever its field is called: jQuery and PHP send `files[]`, other clients
        `file` or `image`.

        Raises InvalidUpload, NoImages, TooManyImages, RateLimited, RequestTimeout and ClientDisconnect.
        """
        reservations: list[Reservation] = []
        max_parts = self._max_images + _MAX_EMPTY_PARTS
        part: _Part | None = None
        try:
            async with aclosing(self._events()) as events:
                async for event in events:
                    if isinstance(event, MultipartSegment):
                        part = self._new_part(event)
                        reservations.append(part.reservation)
                        if len(reservations) > max_parts:
                            raise TooManyImages(max=self._max_images)
                    elif part is not None and event is not None:
                        with self._before_deadline():
                            await part.add(event)
                    elif part is not None and not part.is_empty:
                        yield part.image(self._unique_name(part.name))
        finally:
            for reservation in reservations:
                reservation.release()
        if not self._names:
            raise NoImages()

    async def _events(self) -> AsyncGenerator[_Event, None]:
        media_type, options = content_type(self._request)
        if media_type != "multipart/form-data" or not options.get("boundary"):
            raise InvalidUpload(field=FILES_FIELD)
        try:
            with FormParser(options["boundary"]) as parser:
                while chunk := await self._next_chunk():
                    for event in parser.parse(chunk):
                        yield event
        except MultipartError as error:
            raise InvalidUpload(field=FILES_FIELD) from error
        self.is_complete = True

    async def _next_chunk(self) -> bytes:
        """Return the next bytes of the body, or none at its end."""
        while not self._body_received.is_set():
            with self._before_deadline():
                message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect()
            if not message.get("more_body", False):
                self._body_received.set()
            if chunk := bytes(message.get("body", b"")):
                return chunk
        return b""

    def _new_part(self, segment: MultipartSegment) -> _Part:
        """Return a new part for a file. Raises InvalidUpload, which says what is wrong, if the part is not a file."""
        name = file_name(segment)
        if name is not None:  # the name of the field does not matter for a file
            return _Part(name, self._max_bytes, self._budget, self._context.caller)
        field = field_name(segment)
        if field in FilesQuery.model_fields:
            raise FieldBelongsInQuery(field=field)
        if not field or field.removesuffix("[]").lower() in _FILE_FIELDS:
            raise InvalidUpload(field=FILES_FIELD)
        raise UnknownFormField(field=field[:_MAX_SHOWN_CHARACTERS])

    def _unique_name(self, name: str) -> str:
        """Count one more image, and return its name: `name`, or `name (2)` if `name` is taken already."""
        if len(self._names) == self._max_images:
            raise TooManyImages(max=self._max_images)
        self._context.charge(1)
        unique = name
        while unique in self._names:
            self._names[name] += 1
            unique = f"{name} ({self._names[name]})"
        self._names[unique] = 1
        return unique

    @contextmanager
    def _before_deadline(self) -> Iterator[None]:
        """Raise RequestTimeout if the block is not done when the request's deadline passes."""
        try:
            with fail_after(max(self._context.deadline - current_time(), 0)):
                yield
        except TimeoutError as error:
            raise RequestTimeout() from error
