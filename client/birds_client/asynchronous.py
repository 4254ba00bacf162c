"""The client for asynchronous code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
from anyio.streams.memory import MemoryObjectSendStream

from birds_client.errors import TryAgain, Unreachable, check_status, named, trouble, unreachable
from birds_client.images import Image, Result, batches, request_for
from frontend.api.schemas import DEFAULT_K, NDJSON, ImageLine, ModelsResponse, ReasonBody, TotalsLine
from frontend.errors import Overloaded
from frontend.limits.worker_pool import as_produced

DEFAULT_URL = "http://127.0.0.1:8000"
UNREADABLE = "unreadable_file"  # the one code that does not come from the service

_REQUESTS_AT_ONCE = 4
_TRIES = 8  # with their pauses, long enough for a restart of Triton
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0
_TIMEOUT = httpx.Timeout(10, read=120, write=120)  # above the service's own deadline for a request

Report = Callable[[Result], Awaitable[None]]


class AsyncBirdsClient:
    """Use as an async context manager. `language` is an Accept-Language header, for the sentences of failures."""

    def __init__(self, base_url: str = DEFAULT_URL, *, api_key: str | None = None, language: str | None = None) -> None:
        headers = {"Accept": NDJSON}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        if language:
            headers["Accept-Language"] = language
        self._http = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=_TIMEOUT)
        self._met = False  # whether the service ever answered

    async def __aenter__(self) -> AsyncBirdsClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def models(self) -> ModelsResponse:
        """The model versions that `classify` may be asked for. Raises ClientError."""
        try:
            response = await self._http.get("/models", headers={"Accept": "application/json"})
            with named(response):
                await check_status(response)
            return ModelsResponse.model_validate(response.json())
        except (httpx.TransportError, TryAgain, ValueError) as error:
            raise unreachable(error) from error

    def classify(
        self, images: Iterable[Image], k: int = DEFAULT_K, model_version: str | None = None
    ) -> AsyncGenerator[Result, None]:
        """Yield one result for each distinct image as soon as it is known; closing the generator cancels the rest.

        `images` may be endless: it is read as fast as results come. What the service was too busy for, or lost, is
        sent again several times before that counts as a failure. Raises ClientError.
        """
        options = {"k": k, **({"model_version": model_version} if model_version else {})}
        work = partial(self._work, batches(images), options)
        return as_produced(work, _REQUESTS_AT_ONCE, _REQUESTS_AT_ONCE)

    async def _work(
        self, batches: Iterator[list[Image]], options: dict[str, Any], results: MemoryObjectSendStream[Result]
    ) -> None:
        for batch in batches:
            # Files are named by number: equal names stay apart, and local paths stay here.
            waiting = {image if isinstance(image, str) else str(n): image for n, image in enumerate(batch)}
            await self._until_done(waiting, options, results.send)

    async def _until_done(self, waiting: dict[str, Image], options: dict[str, Any], report: Report) -> None:
        pause_seconds = _FIRST_PAUSE_SECONDS
        for tries_left in reversed(range(_TRIES)):
            try:
                await self._try(waiting, options, report, is_last=tries_left == 0)
            except TryAgain as again:
                if not tries_left:
                    raise unreachable(again) from again
                await asyncio.sleep(min(max(pause_seconds, again.pause_seconds), _LONGEST_PAUSE_SECONDS))
                pause_seconds *= 2
            else:
                return

    async def _try(self, waiting: dict[str, Image], options: dict[str, Any], report: Report, is_last: bool) -> None:
        """Send what is waiting and report every result, which then waits no more."""
        with ExitStack() as opened:
            request, unreadable = request_for(waiting, options, opened)
            for name, error in unreadable.items():
                reason = ReasonBody(code=UNREADABLE, message=error.strerror or str(error))
                await report(Result(waiting.pop(name), [], reason))
            if not waiting:
                return
            try:
                async with self._http.stream("POST", **request) as response:
                    self._met = True
                    with named(response):
                        await check_status(response)
                        async for line in response.aiter_lines():
                            await self._take(json.loads(line), waiting, report, is_last)
            except httpx.ConnectError as error:
                if not self._met:  # nobody is there: trying again would only make a person wait
                    raise Unreachable(str(error)) from error
                raise TryAgain(str(error)) from error
            except httpx.TransportError as error:
                raise TryAgain(str(error) or type(error).__name__) from error
            except ValueError as error:  # no JSON, or another kind of it
                raise Unreachable(f"{self._http.base_url} does not answer as this service does") from error
        if waiting:
            raise TryAgain("the answer was not complete")

    async def _take(self, line: dict[str, Any], waiting: dict[str, Image], report: Report, is_last: bool) -> None:
        if "url" not in line:
            totals = TotalsLine.model_validate(line)
            if totals.errors:
                raise trouble(totals.status, totals.errors)
            return
        found = ImageLine.model_validate(line)
        if found.url in waiting and (is_last or found.failure is None or found.failure.code != Overloaded.code):
            await report(Result(waiting.pop(found.url), found.predictions or [], found.failure, found.model_version))
