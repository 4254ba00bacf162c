"""Multipart bodies as images: each file is handed on as soon as it has arrived, so that no body is ever held whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from anyio import current_time, fail_after
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header
from starlette.requests import Request

from frontend.api.schemas import FILES_FIELD
from frontend.api.streaming import client_gone
from frontend.classify.classifier import Image
from frontend.errors import InvalidUpload, NoImages, RequestTimeout, TooLarge, TooManyImages
from frontend.limits.memory_budget import MemoryBudget, Reservation
from frontend.middleware.request_context import RequestContext


class Upload:
    """The files of one request, in the order they arrive."""

    def __init__(
        self, request: Request, max_images: int, max_bytes: int, context: RequestContext, budget: MemoryBudget
    ) -> None:
        self._request = request
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._deadline = context.deadline
        self._charge = context.charge
        self._budget = budget
        self._shares: list[Reservation] = []
        self._names: set[str] = set()
        self._received = asyncio.Event()

    async def client_gone(self) -> None:
        """Return when the connection is closed after the body; before its end, `images` raises ClientDisconnect."""
        await self._received.wait()
        await client_gone(self._request)

    async def images(self) -> AsyncGenerator[Image, None]:
        """Yield one image a file. Of a file over the limit the rest is dropped as it arrives.

        Raises InvalidUpload, NoImages, TooManyImages, RateLimited, RequestTimeout, and ClientDisconnect. To be
        closed, which gives back the memory of those that nobody opened.
        """
        try:
            async for name, content, share in self._files():
                yield self._image(name, content, share)
        finally:
            for share in self._shares:
                share.release()
        if not self._names:
            raise NoImages()

    async def _files(self) -> AsyncIterator[tuple[str, bytes, Reservation]]:
        name, content, share = "", bytearray(), Reservation(self._budget)
        async for event in self._events():
            if isinstance(event, MultipartSegment):
                if event.name != FILES_FIELD or event.filename is None:
                    raise InvalidUpload(field=FILES_FIELD)
                name, content, share = event.filename, bytearray(), Reservation(self._budget)
                self._shares.append(share)
            elif event is None:
                if name or content:  # a form sends an empty one when no file was chosen
                    yield name, bytes(content), share
            elif len(content) <= self._max_bytes:
                with self._in_time():
                    await share.take(len(event))
                content += event

    async def _events(self) -> AsyncIterator[MultipartSegment | bytes | bytearray | None]:
        kind, options = parse_options_header(self._request.headers.get("content-type", ""))
        if kind != "multipart/form-data" or not options.get("boundary"):
            raise InvalidUpload(field=FILES_FIELD)
        body = self._request.stream()
        try:
            with PushMultipartParser(options["boundary"], strict=True) as parser:
                while chunk := await self._chunk(body):
                    for event in parser.parse(chunk):
                        yield event
        except MultipartError as error:
            raise InvalidUpload(field=FILES_FIELD) from error
        self._received.set()

    async def _chunk(self, body: AsyncIterator[bytes]) -> bytes:
        with self._in_time():
            return await anext(body, b"")

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        try:
            with fail_after(max(self._deadline - current_time(), 0)):
                yield
        except TimeoutError as error:
            raise RequestTimeout() from error

    def _image(self, name: str, content: bytes, share: Reservation) -> Image:
        unique, copies = name, 1
        while unique in self._names:
            copies += 1
            unique = f"{name} ({copies})"
        if len(self._names) == self._max_images:
            raise TooManyImages(max=self._max_images)
        self._charge(1)
        self._names.add(unique)

        @asynccontextmanager
        async def opened() -> AsyncIterator[bytes]:
            try:
                if len(content) > self._max_bytes:
                    raise TooLarge(max=self._max_bytes)
                yield content
            finally:
                share.release()

        return Image(unique, opened)
